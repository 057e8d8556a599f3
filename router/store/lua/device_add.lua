-- One more phone of an account, if it may have one more.
-- KEYS[1] acct:{id}:devices  sorted set: device -> when it was last heard of
-- ARGV    1 device, 2 now, 3 how many it may have
-- Answers 1, or 0 where it has as many as it may.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 1
end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
return 1
