-- A code with which a phone joins an account. An account has one at a time.
-- KEYS[1] codes:{phones}          hash: code -> account
-- KEYS[2] codes:{phones}:of       hash: account -> its code
-- KEYS[3] codes:{phones}:until    sorted set: code -> until when it is good
-- ARGV    1 code, 2 account, 3 now, 4 until when it is good
-- Answers 1, or 0 where another account has that code.
local function forget(code)
  local account = redis.call('HGET', KEYS[1], code)
  redis.call('HDEL', KEYS[1], code)
  redis.call('ZREM', KEYS[3], code)
  if account then
    redis.call('HDEL', KEYS[2], account)
  end
end
for _, code in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[3])) do
  forget(code)
end
local owner = redis.call('HGET', KEYS[1], ARGV[1])
if owner and owner ~= ARGV[2] then
  return 0
end
local older = redis.call('HGET', KEYS[2], ARGV[2])
if older then
  forget(older)
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1])
return 1
