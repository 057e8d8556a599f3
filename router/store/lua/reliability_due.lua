-- Somebody has looked at a seed's tests: when to look again. Unless a new test has set another time meanwhile.
-- KEYS[1] tests:due:{all}   sorted set: seed -> when its tests are to be looked at
-- ARGV    1 seed, 2 the time that the looker had set, 3 the next time ('' = never)
local at = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not at or tonumber(at) ~= tonumber(ARGV[2]) then
  return 0
end
if ARGV[3] == '' then
  return redis.call('ZREM', KEYS[1], ARGV[1])
end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
