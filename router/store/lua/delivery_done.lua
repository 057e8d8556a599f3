-- Forgets a delivery that has arrived, or that nobody wants any more; that it was made is remembered from now on anew.
-- KEYS[1..6] see delivery_lib.lua
-- KEYS[7] deliveries:{n}:told:<delivery id>  string
-- ARGV    1 delivery id, 2 target, 3 how long it is remembered (seconds)
-- Answers 1; 0 where it was gone.
--@include delivery_lib
local gone = redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('ZREM', KEYS[6], ARGV[1])
redis.call('SET', KEYS[7], '1', 'EX', ARGV[3])
index(ARGV[2], KEYS[6])
return gone
