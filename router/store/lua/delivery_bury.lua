-- Puts a delivery on the list of the dead; where there are too many, the oldest go.
-- KEYS[1..6] see delivery_lib.lua
-- ARGV    1 delivery id, 2 the record that was read, 3 the record as it is to be, 4 target, 5 now (Unix seconds), 6 how many dead are kept
-- Answers 1; 0 where the record has changed since (or is gone).
--@include delivery_lib
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[6], ARGV[1])
redis.call('ZADD', KEYS[5], ARGV[5], ARGV[1])
index(ARGV[4], KEYS[6])
local beyond = redis.call('ZCARD', KEYS[5]) - tonumber(ARGV[6])
if beyond > 0 then
  local popped = redis.call('ZPOPMIN', KEYS[5], beyond)
  for i = 1, #popped, 2 do
    redis.call('HDEL', KEYS[1], popped[i])
  end
end
return 1
