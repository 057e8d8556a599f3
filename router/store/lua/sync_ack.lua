-- The password was right: the session is over, once.
-- KEYS[1] sync:{user}:session:<id>    hash: state, key
-- ARGV    1 seconds in which the socket is to have said so
-- Answers 1, or 0 where the session is not paused (any more).
if redis.call('HGET', KEYS[1], 'state') ~= 'paused' then
  return 0
end
redis.call('HSET', KEYS[1], 'state', 'acked')
redis.call('HDEL', KEYS[1], 'key')
redis.call('PEXPIRE', KEYS[1], math.ceil(tonumber(ARGV[1]) * 1000))
return 1
