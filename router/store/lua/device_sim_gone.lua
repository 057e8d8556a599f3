-- A SIM is no longer in its phone: it is given nothing until it comes back. What an operator has disabled stays so even then.
-- KEYS[1] seed:{id}  hash: enabled, disabled_by
-- Answers 1 where this disabled it.
if redis.call('HGET', KEYS[1], 'enabled') ~= '1' then
  return 0
end
redis.call('HSET', KEYS[1], 'enabled', '0', 'disabled_by', 'phone')
return 1
