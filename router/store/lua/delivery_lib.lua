-- What the scripts of deliveries share. All keys have the tag {n}, the shard.
-- KEYS[1] deliveries:{n}:records   hash: delivery id -> record, of those that wait and of the dead ones
-- KEYS[2] deliveries:{n}:made      sorted set: delivery id -> when it was made (Unix seconds), of those that wait
-- KEYS[3] deliveries:{n}:targets   sorted set: target -> when something is due there at the earliest
-- KEYS[4] deliveries:{n}:paused    hash: target -> until when nothing is sent there
-- KEYS[5] deliveries:{n}:dead      sorted set: delivery id -> when it died
-- KEYS[6] deliveries:{n}:at:<target>  sorted set: delivery id -> when it is due, or until when a courier holds it
-- Sets a target's place in KEYS[3] from its own set.
local function index(target, queue)
  local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  if not first[1] then
    redis.call('ZREM', KEYS[3], target)
    redis.call('HDEL', KEYS[4], target)
    return
  end
  local at = first[2]
  local paused = redis.call('HGET', KEYS[4], target)
  if paused and tonumber(paused) > tonumber(at) then
    at = paused
  end
  redis.call('ZADD', KEYS[3], at, target)
end
