-- Makes a delivery, once: it is remembered after it was delivered, too.
-- KEYS[1..6] see delivery_lib.lua
-- KEYS[7] deliveries:{n}:told:<delivery id>  string: it was made; goes by itself
-- ARGV    1 delivery id, 2 record, 3 target, 4 now (Unix seconds), 5 how long it is remembered (seconds)
-- Answers 1; 0 where it was made before.
--@include delivery_lib
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 or not redis.call('SET', KEYS[7], '1', 'NX', 'EX', ARGV[5]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
redis.call('ZADD', KEYS[6], ARGV[4], ARGV[1])
index(ARGV[3], KEYS[6])
return 1
