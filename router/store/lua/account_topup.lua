-- Adds to a wallet, or takes from it, never below zero.
-- KEYS[1] acct:{id}  hash: balance
-- ARGV    1 amount in minor units (may be negative)
-- Answers the new balance; -1 where it would fall below zero; -2 where there is no such account.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return -2
end
local balance = tonumber(redis.call('HGET', KEYS[1], 'balance') or '0')
if balance + tonumber(ARGV[1]) < 0 then
  return -1
end
return redis.call('HINCRBY', KEYS[1], 'balance', ARGV[1])
