-- Forgets the old entries of a list of messages; a list without any goes.
-- KEYS[1] phones:{n} or acct:{id}:messages  stream
-- ARGV    1 Unix time in milliseconds: entries before it are forgotten
-- Answers how many were.
local gone = redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[1])
end
return gone
