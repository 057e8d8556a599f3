-- Changes a password, if it still is the one that the change is based on. All tokens end, and copies of the account in memory are found out.
-- KEYS[1] acct:{id}  hash: password_hash, password_rev, login, rev
-- ARGV    1 password_rev as it was read, 2 hash of the new password, 3 a login for an account that has none, or ''
-- Answers the new password_rev; 0 where it was changed meanwhile; -1 where there is no such account.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return -1
end
if (redis.call('HGET', KEYS[1], 'password_rev') or '0') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'password_hash', ARGV[2])
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'login', ARGV[3])
end
redis.call('HINCRBY', KEYS[1], 'rev', 1)
return redis.call('HINCRBY', KEYS[1], 'password_rev', 1)
