-- An attempt has ended: its place is free, and the seed's record tells how it went. Once per attempt.
-- KEYS[1] seed:{id}    hash: in_flight, consecutive_failures, failed_at, bad, outcomes, seconds_to_sent, sent, failed
-- KEYS[2] outbox:{id}, KEYS[3] held:{id}  sorted sets: attempt -> when it was reserved
-- KEYS[4] quota:{id}   hash of buckets: see usage.lua
-- ARGV    1 attempt, 2 parts, 3 outcome (sent, failed, silent, returned), 4 '1' = it had been handed over, 5 now,
--         6 seconds from hand-over to sent ('' = not known), 7 decay
-- Answers 1, or 0 where the seed did not hold it (any more).
-- A run of failures counts occasions, not messages: what the seed held already when it last failed went down with the same cause.
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
if outcome == 'returned' then
  return 1
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
