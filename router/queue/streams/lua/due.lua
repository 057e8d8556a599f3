-- Moves due messages to their streams. KEYS: a queue's sorted set. ARGV: how many at most, start and end of the streams' keys.
-- A member is 16 bytes that make it unique and keep the order, the priority step (1 byte), the length of the meta (4), meta, body.
-- Returns: how many were moved; ms until the next is due, -1 if there is none.
local now = milliseconds()
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, member in ipairs(due) do
  local step, length, from = struct.unpack('>BI4', member, 17)
  local meta, body = string.sub(member, from, from + length - 1), string.sub(member, from + length)
  local key = ARGV[2] .. step .. ARGV[3]
  if meta == '' then redis.call('XADD', key, '*', 'b', body) else redis.call('XADD', key, '*', 'm', meta, 'b', body) end
  redis.call('ZREM', KEYS[1], member)
end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if #next == 0 then return {#due, -1} end
return {#due, math.max(math.floor(tonumber(next[2])) - now, 0)}
