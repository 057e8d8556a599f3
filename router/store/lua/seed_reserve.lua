-- Gives a seed one more attempt to send, if it may have it: the last word after a choice made on a copy.
-- KEYS[1] seed:{id}        hash: enrolled, enabled, draining, account, shared, in_flight (parts), rest_seconds, last_given_at, given_before
-- KEYS[2] outbox:{id}      sorted set: attempt waiting to be fetched -> when it was reserved
-- KEYS[3] held:{id}        sorted set: attempt fetched and not ended -> when it was reserved
-- KEYS[4] quota:{id}       hash of buckets: see usage.lua
-- KEYS[5] recipients:{id}  hash: see usage.lua
-- ARGV    1 attempt, 2 parts, 3 now, 4 capacity, 5 6 7 limits of half hour, hour, day (0 = none), 8 '1' = enrolment is waived,
--         9 whose message it is, 10 limit of recipients (0 = none), 11 month, 12 the recipient's fingerprint
-- Answers 'ok', or why not, in the words of domain/selection.py.
--@include usage
local parts, now, capacity = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if redis.call('ZSCORE', KEYS[2], ARGV[1]) or redis.call('ZSCORE', KEYS[3], ARGV[1]) then
  return 'ok'
end
local seed = redis.call('HMGET', KEYS[1], 'enrolled', 'enabled', 'draining', 'in_flight', 'shared', 'account', 'rest_seconds',
  'last_given_at')
if seed[1] ~= '1' and ARGV[8] ~= '1' then
  return 'not enrolled'
elseif seed[5] == '0' and seed[6] ~= ARGV[9] then
  return "another account's"
elseif seed[2] == '0' then
  return 'disabled'
elseif seed[3] == '1' then
  return 'draining'
end
local rest = tonumber(seed[7] or '0')
if rest > 0 and now < tonumber(seed[8] or '0') + rest then
  return 'resting'
end
local in_flight = tonumber(seed[4] or '0')
if in_flight > 0 and in_flight + parts > capacity then
  return 'no room'
end
local used = {usage(KEYS[4], now)}
for i = 1, 3 do
  local limit = tonumber(ARGV[4 + i])
  if limit > 0 and used[i] + parts > limit then
    return 'quota used'
  end
end
local most = tonumber(ARGV[10])
if most > 0 then
  local recipient = 'r' .. ARGV[12]
  local distinct = recipients(KEYS[5], ARGV[11])
  if distinct == 0 then
    redis.call('DEL', KEYS[5])
    redis.call('HSET', KEYS[5], 'month', ARGV[11])
  end
  if redis.call('HEXISTS', KEYS[5], recipient) == 0 then
    if distinct >= most then
      return 'recipients used'
    end
    redis.call('HINCRBY', KEYS[5], 'distinct', 1)
  end
  redis.call('HINCRBY', KEYS[5], recipient, 1)
  redis.call('HSET', KEYS[5], 'a' .. ARGV[1], recipient)
  redis.call('EXPIRE', KEYS[5], 2764800)
end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
redis.call('HINCRBY', KEYS[1], 'in_flight', parts)
redis.call('HINCRBY', KEYS[4], 'm' .. math.floor(now / 60), parts)
redis.call('HINCRBY', KEYS[4], 'h' .. math.floor(now / 3600), parts)
redis.call('EXPIRE', KEYS[4], 90000)
if rest > 0 then
  redis.call('HSET', KEYS[1], 'last_given_at', ARGV[3], 'given_before', seed[8] or '0')
end
return 'ok'
