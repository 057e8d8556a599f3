-- Puts a delivery back: after a failed try, untried, or to another target where its webhook has moved; a dead one lives again.
-- KEYS[1..6] see delivery_lib.lua; KEYS[6] of the target that it was at
-- KEYS[7] deliveries:{n}:at:<target>  the same of the target where it goes (may be KEYS[6])
-- ARGV    1 delivery id, 2 the record that was read, 3 the record as it is to be, 4 target, 5 target where it goes, 6 when it is due,
--         7 when it counts as made (Unix seconds)
-- Answers 1; 0 where the record has changed since (or is gone).
--@include delivery_lib
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[7], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('ZREM', KEYS[6], ARGV[1])
redis.call('ZADD', KEYS[7], ARGV[6], ARGV[1])
index(ARGV[4], KEYS[6])
index(ARGV[5], KEYS[7])
return 1
