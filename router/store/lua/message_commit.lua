-- Makes a decision true: the compare-and-set under every transition.
-- KEYS[1] msg:{id}   hash: v = version, b = the message (JSON), t = its text, sealed
-- ARGV    1 the version that was read, 2 the new message JSON, 3 '1' when the text is to be erased
-- Answers 1; or 0 where the record has changed since (or is gone).
if redis.call('HGET', KEYS[1], 'v') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'b', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'v', 1)
if ARGV[3] == '1' then
  redis.call('HDEL', KEYS[1], 't')
end
return 1
