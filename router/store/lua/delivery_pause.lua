-- Sends nothing to a target for a while, whichever courier asks.
-- KEYS[1..6] see delivery_lib.lua
-- ARGV    1 target, 2 until when (Unix seconds)
-- Answers how many deliveries wait there.
--@include delivery_lib
local waiting = redis.call('ZCARD', KEYS[6])
if waiting > 0 then
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
  index(ARGV[1], KEYS[6])
end
return waiting
