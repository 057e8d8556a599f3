-- Gives a seed one more attempt to send, if it still has room: the last word after a choice made on a copy.
-- KEYS[1] seed:{id}    hash: enrolled, enabled, draining, in_flight (parts)
-- KEYS[2] outbox:{id}  sorted set: attempt waiting to be fetched -> when it was reserved
-- KEYS[3] held:{id}    sorted set: attempt fetched and not ended -> when it was reserved
-- KEYS[4] quota:{id}   hash of buckets: see usage.lua
-- ARGV    1 attempt, 2 parts, 3 now, 4 capacity, 5 6 7 limits of half hour, hour, day (0 = none), 8 '1' = enrolment is waived
-- Answers 'ok', or why not, in the words of domain/selection.py.
--@include usage
local parts, now, capacity = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if redis.call('ZSCORE', KEYS[2], ARGV[1]) or redis.call('ZSCORE', KEYS[3], ARGV[1]) then
  return 'ok'
end
local seed = redis.call('HMGET', KEYS[1], 'enrolled', 'enabled', 'draining', 'in_flight')
if seed[1] ~= '1' and ARGV[8] ~= '1' then
  return 'not enrolled'
elseif seed[2] == '0' then
  return 'disabled'
elseif seed[3] == '1' then
  return 'draining'
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
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
redis.call('HINCRBY', KEYS[1], 'in_flight', parts)
redis.call('HINCRBY', KEYS[4], 'm' .. math.floor(now / 60), parts)
redis.call('HINCRBY', KEYS[4], 'h' .. math.floor(now / 3600), parts)
redis.call('EXPIRE', KEYS[4], 90000)
return 'ok'
