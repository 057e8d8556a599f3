-- Takes the first waiting messages of a parking lot into a dispatcher's hands.
-- KEYS[1] parked:{lot}         sorted set: message id -> its place in the order
-- KEYS[2] parked:{lot}:claimed sorted set: message id -> when it was claimed
-- KEYS[3] parked:{lot}:places  hash: message id -> its place, while it is claimed
-- ARGV    1 now, 2 how many at the most, 3 claims older than this (Unix seconds) go back first: their dispatcher died
-- Answers the ids.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[3])) do
  redis.call('ZADD', KEYS[1], redis.call('HGET', KEYS[3], id) or '0', id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('HDEL', KEYS[3], id)
end
local popped = redis.call('ZPOPMIN', KEYS[1], ARGV[2])
local ids = {}
for i = 1, #popped, 2 do
  ids[#ids + 1] = popped[i]
  redis.call('ZADD', KEYS[2], ARGV[1], popped[i])
  redis.call('HSET', KEYS[3], popped[i], popped[i + 1])
end
return ids
