-- Begins a family of tokens: an access token, its refresh token, and what they are exchanged for later.
-- KEYS[1] acct:{id}:tokens           sorted set: family -> when its refresh token ends
-- KEYS[2] acct:{id}:tokens:<family>  hash: gen = the generation that is good, ttl = seconds of its access tokens
-- ARGV    1 family, 2 now, 3 seconds of the refresh token, 4 seconds of the access tokens, 5 families an account may have
-- Answers the families that had to go from the set, the oldest first; their keys are the caller's to remove.
redis.call('HSET', KEYS[2], 'gen', 1, 'ttl', ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
redis.call('ZADD', KEYS[1], ARGV[2] + ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
local gone = {}
local many = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[5])
if many > 0 then
  local popped = redis.call('ZPOPMIN', KEYS[1], many)
  for i = 1, #popped, 2 do
    gone[#gone + 1] = popped[i]
  end
end
return gone
