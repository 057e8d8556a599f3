-- Shows a session on a socket: the first, with which the socket takes its URL, or the next, in the place of the one before.
-- KEYS[1] sync:{user}:open            hash: session of a socket's URL -> '<until> <token>', until when that socket has it
-- KEYS[2] sync:{user}:session:<new>   hash: state; from the handshake on key, the client's public key (PEM)
-- KEYS[3] sync:{user}:session:<old>   the one before; the same as KEYS[2] at the first
-- ARGV    1 session of the URL, 2 token of the socket, 3 now, 4 seconds it has the URL, 5 seconds of the new session, 6 most sockets of the user
-- Answers 'waiting'; 'taken' where another socket has the URL, 'full' where the user has too many; or the state of the old session, which
-- then stays: somebody has taken it on.
local now, open = tonumber(ARGV[3]), 0
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  local ends, token = string.match(held[i + 1], '^(%S+) (.+)$')
  if held[i] == ARGV[1] then
    if token ~= ARGV[2] and tonumber(ends) > now then
      return 'taken'
    end
  elseif tonumber(ends) <= now then
    redis.call('HDEL', KEYS[1], held[i])
  else
    open = open + 1
  end
end
if open >= tonumber(ARGV[6]) and KEYS[2] == KEYS[3] then
  return 'full'
end
local old = KEYS[2] ~= KEYS[3] and redis.call('HGET', KEYS[3], 'state')
if old and old ~= 'waiting' then
  return old
end
if old then
  redis.call('DEL', KEYS[3])
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.3f', now + tonumber(ARGV[4])) .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], math.ceil(tonumber(ARGV[4]) * 1000))
redis.call('HSET', KEYS[2], 'state', 'waiting')
redis.call('PEXPIRE', KEYS[2], math.ceil(tonumber(ARGV[5]) * 1000))
return 'waiting'
