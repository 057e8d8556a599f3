-- A message is over: its charge is kept, or given back. Once per message (invariant 5).
-- KEYS[1] acct:{id} hash: balance; KEYS[2] acct:{id}:charges hash; KEYS[3] acct:{id}:unconfirmed sorted set
-- ARGV    1 message id, 2 '1' = give it back
-- Answers what was given back, in minor units.
redis.call('ZREM', KEYS[3], ARGV[1])
local charge = redis.call('HGET', KEYS[2], ARGV[1])
if not charge then
  return 0
end
redis.call('HDEL', KEYS[2], ARGV[1])
if ARGV[2] ~= '1' then
  return 0
end
local price = string.match(charge, '^%d+')
redis.call('HINCRBY', KEYS[1], 'balance', price)
return tonumber(price)
