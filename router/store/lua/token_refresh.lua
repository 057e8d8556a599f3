-- Exchanges a refresh token, once: who shows it again has stolen it, or was stolen from, and the whole family ends.
-- KEYS[1] acct:{id}:tokens           sorted set: family -> when its refresh token ends
-- KEYS[2] acct:{id}:tokens:<family>  hash: gen, ttl, revoked = '1', dead:<gen> = until when that generation's access token would have lived
-- ARGV    1 family, 2 generation of the token, 3 now, 4 seconds of the next refresh token
-- Answers {'ok', the next generation, ttl}, {'replay'}, or {'no'} where the family or the generation is not good.
local state = redis.call('HMGET', KEYS[2], 'gen', 'ttl', 'revoked', 'dead:' .. ARGV[2])
local current, given = tonumber(state[1] or '0'), tonumber(ARGV[2])
if state[3] or given > current then
  return {'no'}
end
if given < current then
  redis.call('HSET', KEYS[2], 'revoked', '1')
  return {'replay'}
end
if state[4] then
  return {'no'}
end
redis.call('HSET', KEYS[2], 'gen', given + 1)
redis.call('EXPIRE', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[1], ARGV[3] + ARGV[4], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {'ok', given + 1, tonumber(state[2])}
