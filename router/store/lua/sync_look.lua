-- How does it stand with the session that a socket shows? The socket keeps its URL.
-- KEYS[1] sync:{user}:open            hash: session of a socket's URL -> '<until> <token>'
-- KEYS[2] sync:{user}:session:<id>    hash: state, key
-- ARGV    1 session of the URL, 2 token of the socket, 3 now, 4 seconds it has the URL
-- Answers the state; 'gone' where there is no such session, 'taken' where another socket has the URL.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held then
  local ends, token = string.match(held, '^(%S+) (.+)$')
  if token ~= ARGV[2] and tonumber(ends) > tonumber(ARGV[3]) then
    return 'taken'
  end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.3f', tonumber(ARGV[3]) + tonumber(ARGV[4])) .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], math.ceil(tonumber(ARGV[4]) * 1000))
return redis.call('HGET', KEYS[2], 'state') or 'gone'
