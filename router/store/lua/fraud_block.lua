-- Writes, changes or forgets the block of one prefix, if it is still as it was read: so that two who judge it at once write it once.
-- KEYS[1] fraud:{prefixes}:blocks   hash: prefix -> JSON of its block
-- KEYS[2] fraud:{prefixes}:changes  counter: by it the api processes see that there is something to read
-- ARGV    1 prefix, 2 the value that was read ('' = none), 3 the new one ('' = forget it), 4 how many prefixes there may be
-- Answers 1, or 0 where it has changed since, or there are too many.
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then
  return 0
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
elseif ARGV[2] == '' and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  return 0
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
redis.call('INCR', KEYS[2])
return 1
