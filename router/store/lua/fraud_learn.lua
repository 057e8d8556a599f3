-- Adds one minute to what is usual, once, whoever comes first.
-- KEYS[1] fraud:{prefixes}:usual    hash: prefix or carrier -> accepted, sent, verified (aged) and as of when, separated by blanks
-- KEYS[2] fraud:{prefixes}:learned  string: the minute that was added last, and that of the first one (Unix seconds), separated by a blank
-- ARGV    1 what was read of KEYS[2] ('' = nothing), 2 what is to stand there, 3... field and value in turn
-- Answers 1, or 0 where somebody else was first.
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then
  return 0
end
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
