-- Uses up a code with which a phone joins an account. Wrong ones are counted, for all callers together: six digits could be guessed.
-- KEYS[1] codes:{phones}          hash: code -> account
-- KEYS[2] codes:{phones}:of       hash: account -> its code
-- KEYS[3] codes:{phones}:until    sorted set: code -> until when it is good
-- KEYS[4] codes:{phones}:wrong    string: wrong codes since it was made; ends after a minute
-- ARGV    1 code, 2 now, 3 wrong codes that are heard in a minute
-- Answers {'ok', account}, {'wrong'}, or {'busy', seconds until the next code is heard}.
if tonumber(redis.call('GET', KEYS[4]) or '0') >= tonumber(ARGV[3]) then
  return {'busy', redis.call('TTL', KEYS[4])}
end
local account = redis.call('HGET', KEYS[1], ARGV[1])
local good_until = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not account or not good_until or tonumber(good_until) <= tonumber(ARGV[2]) then
  if redis.call('INCR', KEYS[4]) == 1 then
    redis.call('EXPIRE', KEYS[4], 60)
  end
  return {'wrong'}
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], account)
redis.call('ZREM', KEYS[3], ARGV[1])
return {'ok', account}
