-- May a secret be tried? It is counted as wrong before it is checked, so that many at once are no more tries; one that is right takes both
-- keys away.
-- KEYS[1] sync:{account}:wrong, or console:{logins}:wrong:<who>      sorted set: try -> when
-- KEYS[2] sync:{account}:locked, or console:{logins}:locked:<who>    string, as long as none is heard
-- ARGV    1 name of the try, empty = only asks, 2 now, 3 wrong ones that lock, 4 seconds in which they count, 5 seconds of the lock
-- Answers 0, or the milliseconds until the lock ends.
local left = redis.call('PTTL', KEYS[2])
if left > 0 then
  return left
end
if ARGV[1] == '' then
  return 0
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', tonumber(ARGV[2]) - tonumber(ARGV[4]))
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.ceil(tonumber(ARGV[4]) * 1000))
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  redis.call('SET', KEYS[2], '1', 'PX', math.ceil(tonumber(ARGV[5]) * 1000))
  redis.call('DEL', KEYS[1])
end
return 0
