-- Takes due timers for a while: who dies with them in hand loses them to the next when the hold is over.
-- KEYS[1] timers:{n}   sorted set: message id -> due time (Unix seconds)
-- ARGV    1 now, 2 how many at the most, 3 until when they are held
-- Answers the ids.
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  redis.call('ZADD', KEYS[1], ARGV[3], id)
end
return ids
