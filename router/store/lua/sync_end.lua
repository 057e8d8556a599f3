-- Ends a session and frees the socket's URL, unless the session's state says that there is more to say.
-- KEYS[1] sync:{user}:open            hash: session of a socket's URL -> '<until> <token>'
-- KEYS[2] sync:{user}:session:<id>    hash: state, key
-- ARGV    1 session of the URL, 2 token of the socket, 3 '1' = free the URL in any case, 4… states that may end
-- Answers 'gone' where it is ended, or the state.
local state = redis.call('HGET', KEYS[2], 'state')
local ended = not state
for i = 4, #ARGV do
  ended = ended or state == ARGV[i]
end
if ended or ARGV[3] == '1' then
  local held = redis.call('HGET', KEYS[1], ARGV[1])
  if held and string.match(held, '^%S+ (.+)$') == ARGV[2] then
    redis.call('HDEL', KEYS[1], ARGV[1])
  end
end
if ended then
  redis.call('DEL', KEYS[2])
  return 'gone'
end
return state
