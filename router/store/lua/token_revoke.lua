-- Ends one generation of a family: its access token, and the refresh token that came with it.
-- KEYS[1] acct:{id}:tokens:<family>  hash: gen, dead:<gen> = until when that generation's access token would have lived
-- ARGV    1 generation, 2 now, 3 the longest that an access token lives, in seconds
-- Answers 1, or 0 where there is no such generation.
local current = tonumber(redis.call('HGET', KEYS[1], 'gen') or '0')
if tonumber(ARGV[1]) > current then
  return 0
end
-- A generation that was exchanged is forgotten with its access token; the current one still has its refresh token
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local gen = tonumber(string.match(fields[i], '^dead:(%d+)$') or '')
  if gen and gen < current and tonumber(fields[i + 1]) <= tonumber(ARGV[2]) then
    redis.call('HDEL', KEYS[1], fields[i])
  end
end
redis.call('HSET', KEYS[1], 'dead:' .. ARGV[1], ARGV[2] + ARGV[3])
return 1
