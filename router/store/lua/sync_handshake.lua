-- A client takes a session on with its public key. The same key again is the same client, whose answer was lost.
-- KEYS[1] sync:{user}:session:<id>    hash: state, key
-- ARGV    1 public key (PEM), 2 seconds that the session lives on
-- Answers 1, or 0 where there is no such session or another client has it.
local found = redis.call('HMGET', KEYS[1], 'state', 'key')
if found[1] == 'paused' and found[2] == ARGV[1] then
  return 1
end
if found[1] ~= 'waiting' then
  return 0
end
redis.call('HSET', KEYS[1], 'state', 'paused', 'key', ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.ceil(tonumber(ARGV[2]) * 1000))
return 1
