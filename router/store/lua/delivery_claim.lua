-- Takes due deliveries of a target for a while: a courier that dies with them in hand loses them to the next when the hold is over.
-- KEYS[1..6] see delivery_lib.lua
-- ARGV    1 target, 2 now (Unix seconds), 3 how many at the most, 4 until when they are held
-- Answers their records.
--@include delivery_lib
local records = {}
local paused = redis.call('HGET', KEYS[4], ARGV[1])
if not paused or tonumber(paused) <= tonumber(ARGV[2]) then
  redis.call('HDEL', KEYS[4], ARGV[1])
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])) do
    local record = redis.call('HGET', KEYS[1], id)
    if record then
      redis.call('ZADD', KEYS[6], ARGV[4], id)
      records[#records + 1] = record
    else
      redis.call('ZREM', KEYS[6], id)
    end
  end
end
index(ARGV[1], KEYS[6])
return records
