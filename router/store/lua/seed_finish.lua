-- An attempt has ended: its place is free, and the seed's record tells how it went. Once per attempt.
-- KEYS[1] seed:{id}    hash: in_flight, consecutive_failures, failed_at, bad, outcomes, seconds_to_sent, sent, failed,
--                      rest_seconds, last_given_at, given_before, limited_at, pace_seconds
-- KEYS[2] outbox:{id}, KEYS[3] held:{id}  sorted sets: attempt -> when it was reserved
-- KEYS[4] quota:{id}, KEYS[5] recipients:{id}  hashes: see usage.lua
-- ARGV    1 attempt, 2 parts, 3 outcome (sent, failed, limited, silent, returned), 4 '1' = it had been handed over, 5 now,
--         6 seconds from hand-over to sent ('' = not known), 7 decay, 8 pace where the seed has none, 9 10 shortest and longest rest
-- Answers 1, or 0 where the seed did not hold it (any more).
-- A run of failures counts occasions, not messages: what the seed held already when it last failed went down with the same cause.
-- So does a limit error, and what it sent of that proves nothing about the pace since.
local reserved = redis.call('ZSCORE', KEYS[2], ARGV[1]) or redis.call('ZSCORE', KEYS[3], ARGV[1])
if not reserved then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
local parts, outcome, now, decay = tonumber(ARGV[2]), ARGV[3], ARGV[5], tonumber(ARGV[7])
if redis.call('HINCRBY', KEYS[1], 'in_flight', -parts) < 0 then
  redis.call('HSET', KEYS[1], 'in_flight', 0)
end
if ARGV[4] ~= '1' then
  for _, bucket in ipairs({'m' .. math.floor(reserved / 60), 'h' .. math.floor(reserved / 3600)}) do
    if redis.call('HEXISTS', KEYS[4], bucket) == 1 and redis.call('HINCRBY', KEYS[4], bucket, -parts) <= 0 then
      redis.call('HDEL', KEYS[4], bucket)
    end
  end
end
local recipient = redis.call('HGET', KEYS[5], 'a' .. ARGV[1])
if recipient then
  redis.call('HDEL', KEYS[5], 'a' .. ARGV[1])
  if ARGV[4] ~= '1' and redis.call('HINCRBY', KEYS[5], recipient, -1) <= 0 then
    redis.call('HDEL', KEYS[5], recipient)
    redis.call('HINCRBY', KEYS[5], 'distinct', -1)
  end
end
local learned = redis.call('HMGET', KEYS[1], 'rest_seconds', 'limited_at', 'last_given_at', 'given_before', 'pace_seconds')
local rest, limited_at = tonumber(learned[1] or '0'), tonumber(learned[2] or '0')
if ARGV[4] ~= '1' and rest > 0 and learned[3] and tonumber(learned[3]) == tonumber(reserved) then
  redis.call('HSET', KEYS[1], 'last_given_at', learned[4] or '0')
end
if outcome == 'returned' then
  return 1
end
local pace = tonumber(learned[5] or '0')
local first = math.max(pace > 0 and pace or tonumber(ARGV[8]), tonumber(ARGV[9]))
if outcome == 'limited' then
  if tonumber(reserved) > limited_at then
    local longer = rest > 0 and rest * 2 or first
    redis.call('HSET', KEYS[1], 'rest_seconds', string.format('%.3f', math.min(longer, tonumber(ARGV[10]))), 'limited_at', now)
  end
  redis.call('HSET', KEYS[1], 'last_given_at', now)
  return 1
end
if outcome == 'sent' and rest > 0 and tonumber(reserved) > limited_at then
  local shorter = rest * 0.8
  redis.call('HSET', KEYS[1], 'rest_seconds', shorter < first and '0' or string.format('%.3f', shorter))
end
local stats = redis.call('HMGET', KEYS[1], 'bad', 'outcomes', 'seconds_to_sent')
local bad, outcomes = tonumber(stats[1] or '0') * decay, tonumber(stats[2] or '0') * decay + 1
if outcome == 'sent' then
  redis.call('HSET', KEYS[1], 'consecutive_failures', 0)
  redis.call('HINCRBY', KEYS[1], 'sent', 1)
  local seconds = tonumber(ARGV[6])
  if seconds then
    local known = tonumber(stats[3] or '0')
    local smoothed = known > 0 and known * 0.7 + seconds * 0.3 or seconds
    redis.call('HSET', KEYS[1], 'seconds_to_sent', string.format('%.4f', smoothed))
  end
else
  bad = bad + 1
  redis.call('HINCRBY', KEYS[1], 'failed', 1)
  if tonumber(reserved) > tonumber(redis.call('HGET', KEYS[1], 'failed_at') or '0') then
    redis.call('HINCRBY', KEYS[1], 'consecutive_failures', 1)
    redis.call('HSET', KEYS[1], 'failed_at', now)
  end
end
redis.call('HSET', KEYS[1], 'bad', string.format('%.6f', bad), 'outcomes', string.format('%.6f', outcomes))
return 1
