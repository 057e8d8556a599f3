-- Undoes an admission whose message was never accepted: nothing is charged or counted for it. Once.
-- KEYS    1 to 9 as in account_admit.lua (KEYS[9] only where ARGV[3] = '1')
-- ARGV    1 message id, 2 phone, 3 '1' = it had an idempotency key
-- Answers 1, or 0 where there was nothing (left) to undo.
local charge = redis.call('HGET', KEYS[2], ARGV[1])
if not charge then
  return 0
end
local price = string.match(charge, '^%d+')
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[1], 'balance', price)
redis.call('ZREM', KEYS[3], ARGV[1])
if redis.call('HGET', KEYS[4], ARGV[2]) == ARGV[1] then
  redis.call('HDEL', KEYS[4], ARGV[2])
end
redis.call('ZREM', KEYS[5], ARGV[1])
for i = 6, 7 do
  if tonumber(redis.call('GET', KEYS[i]) or '0') > 0 then
    redis.call('DECR', KEYS[i])
  end
end
redis.call('ZREM', KEYS[8], ARGV[1])
if ARGV[3] == '1' and redis.call('HGET', KEYS[9], 'id') == ARGV[1] then
  redis.call('DEL', KEYS[9])
end
return 1
