-- Undoes an admission whose message was never accepted: nothing is charged or counted for it, and the phone's older code is the newest
-- again. Once; where the charge was given back already (the message was recorded, then cancelled), the rest is undone.
-- KEYS    1 to 9 as in account_admit.lua (KEYS[9] only where ARGV[3] = '1')
-- ARGV    1 message id, 2 phone, 3 '1' = it had an idempotency key, 4 the phone's older code, or ''
-- Answers 1, or 0 where there was nothing (left) to undo.
local charge = redis.call('HGET', KEYS[2], ARGV[1])
if redis.call('ZREM', KEYS[5], ARGV[1]) == 0 and not charge then
  return 0
end
if charge then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('HINCRBY', KEYS[1], 'balance', string.match(charge, '^%d+'))
end
redis.call('ZREM', KEYS[3], ARGV[1])
local newest = redis.call('HGET', KEYS[4], ARGV[2])
if ARGV[4] ~= '' and (not newest or newest == ARGV[1]) then
  redis.call('HSET', KEYS[4], ARGV[2], ARGV[4])
elseif newest == ARGV[1] then
  redis.call('HDEL', KEYS[4], ARGV[2])
end
for i = 6, 7 do
  if tonumber(redis.call('GET', KEYS[i]) or '0') > 1 then
    redis.call('DECR', KEYS[i])
  else
    redis.call('DEL', KEYS[i])
  end
end
redis.call('ZREM', KEYS[8], ARGV[1])
if ARGV[3] == '1' and redis.call('HGET', KEYS[9], 'id') == ARGV[1] then
  redis.call('DEL', KEYS[9])
end
return 1
