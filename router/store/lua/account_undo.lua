-- Undoes an admission whose message was never accepted: nothing is charged or counted for it, and the phone's older code is the newest
-- again. Once, by its charge. The account's list of messages keeps it: a reader passes over what has no record.
-- KEYS    1 to 8 as in account_admit.lua (KEYS[8] only where ARGV[2] = '1')
-- ARGV    1 message id, 2 '1' = it had an idempotency key, 3 '1' = the charge may have been given back already (the message was
--         recorded, then cancelled): the rest is undone all the same, and only the caller knows that it asks once
-- Answers 1, or 0 where there was nothing (left) to undo.
local charge = redis.call('HGET', KEYS[2], ARGV[1])
if not charge and ARGV[3] ~= '1' then
  return 0
end
if charge then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('HINCRBY', KEYS[1], 'balance', string.match(charge, '^%d+'))
end
redis.call('ZREM', KEYS[3], ARGV[1])
for i = 5, 6 do
  if tonumber(redis.call('GET', KEYS[i]) or '0') > 1 then
    redis.call('DECR', KEYS[i])
  else
    redis.call('DEL', KEYS[i])
  end
end
redis.call('ZREM', KEYS[7], ARGV[1], '-' .. ARGV[1])
if ARGV[2] == '1' and redis.call('HGET', KEYS[8], 'id') == ARGV[1] then
  redis.call('DEL', KEYS[8])
end
return 1
