-- Undoes an admission whose message was never accepted: nothing is charged or counted for it, and the phone's older code is the newest
-- again. Once, by its charge. The account's list of messages keeps it: a reader passes over what has no record. Where it is one of a
-- submission, the last of them to be undone takes the submission with it, from the list too: its id and its idempotency key are free.
-- KEYS    1 to 8 as in account_admit.lua (KEYS[8] only where ARGV[2] = '1'); only where ARGV[4] is not '':
-- KEYS[9] acct:{id}:sub:<id>, KEYS[10] acct:{id}:submissions: as in submission_admit.lua
-- ARGV    1 message id, 2 '1' = it had an idempotency key, 3 '1' = the charge may have been given back already (the message was
--         recorded, then cancelled): the rest is undone all the same, and only the caller knows that it asks once,
--         4 the submission that it is of, or ''
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
local accepted_as = ARGV[1]
if ARGV[4] ~= '' then
  local submission = redis.call('GET', KEYS[9]) or ''
  local left, entry = string.match(submission, '^(%d+):(%d+%-%d+):')
  if left and tonumber(left) > 1 then
    redis.call('SET', KEYS[9], string.format('%d', left - 1) .. string.sub(submission, #left + 1), 'KEEPTTL')
    return 1
  end
  if left then
    redis.call('DEL', KEYS[9])
    redis.call('XDEL', KEYS[10], entry)
  end
  accepted_as = ARGV[4]
end
if ARGV[2] == '1' and redis.call('HGET', KEYS[8], 'id') == accepted_as then
  redis.call('DEL', KEYS[8])
end
return 1
