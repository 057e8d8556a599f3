-- The seed fetches: attempts move from what waits to what it holds.
-- KEYS[1] outbox:{id}  sorted set: attempt waiting -> when it was reserved
-- KEYS[2] held:{id}    sorted set: attempt fetched -> when it was reserved
-- KEYS[3] seed:{id}    hash: token_hash
-- ARGV    1 how many at the most, 2 hash of the token that was shown, '' where none is asked for
-- Answers the attempts, oldest first; nil where the token is another by now.
if ARGV[2] ~= '' and redis.call('HGET', KEYS[3], 'token_hash') ~= ARGV[2] then
  return nil
end
local popped = redis.call('ZPOPMIN', KEYS[1], ARGV[1])
local attempts = {}
for i = 1, #popped, 2 do
  redis.call('ZADD', KEYS[2], popped[i + 1], popped[i])
  attempts[#attempts + 1] = popped[i]
end
return attempts
