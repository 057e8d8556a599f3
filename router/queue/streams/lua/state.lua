-- How full a queue is. KEYS: hash of queues, the sorted set of delayed messages, streams. ARGV: group, released, queue.
-- Returns: is it there (declared, or has a stream); waiting; in hands; delayed; time of the oldest waiting entry (its id), or ''.
local there = redis.call('HEXISTS', KEYS[1], ARGV[3])
local waiting, hands, oldest = 0, 0, nil
local function look(rows, first)
  local id = rows[1] and rows[1][1]
  local at = id and tonumber(string.match(id, '^%d+'))
  if at and (not oldest or at < oldest) then oldest = at end
end
for i = 3, #KEYS do
  there = math.max(there, redis.call('EXISTS', KEYS[i]))
  local here, held = count(KEYS[i], ARGV[1], ARGV[2])
  waiting, hands = waiting + here, hands + held
  if here > 0 then
    local last = '-'
    local groups = redis.call('XINFO', 'GROUPS', KEYS[i])
    for _, fields in ipairs(groups) do
      local info = {}
      for n = 1, #fields, 2 do info[fields[n]] = fields[n + 1] end
      if info['name'] == ARGV[1] then last = '(' .. info['last-delivered-id'] end
    end
    look(redis.call('XRANGE', KEYS[i], last, '+', 'COUNT', 1))
    look((pending(KEYS[i], ARGV[1], '-', '+', 1, ARGV[2])))
  end
end
return {there, waiting, hands, redis.call('ZCARD', KEYS[2]), oldest and tostring(string.format('%.0f', oldest)) or ''}
