-- An account's settings for its phones, written whole where nobody else was first.
-- KEYS[1] acct:{id}:settings  hash: version, sealed
-- ARGV    1 the version that was read (0 = there were none), 2 the sealed settings
-- Answers 1, or 0 where the version is another by now.
if tonumber(redis.call('HGET', KEYS[1], 'version') or '0') ~= tonumber(ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[1], 'version', tonumber(ARGV[1]) + 1, 'sealed', ARGV[2])
return 1
