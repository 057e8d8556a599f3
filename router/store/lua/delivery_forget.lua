-- Forgets the dead of long ago.
-- KEYS[1] deliveries:{n}:records  hash: delivery id -> record
-- KEYS[2] deliveries:{n}:dead     sorted set: delivery id -> when it died
-- ARGV    1 those that died before it go (Unix seconds), 2 how many at the most
-- Answers how many went.
local ids = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  redis.call('ZREM', KEYS[2], id)
  redis.call('HDEL', KEYS[1], id)
end
return #ids
