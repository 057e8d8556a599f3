-- Removes consumers that hold nothing: the one that is named, or, without a name, those that were silent for long. KEYS: a stream.
-- ARGV: group, released, idle ms, name. Never one that holds an entry: with its name the entry would be lost.
-- Returns: how many were removed; how many others live: hold something, or were not silent for so long.
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, 0} end
local listed = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if listed.err then
  if string.find(listed.err, 'NOGROUP', 1, true) then return {0, 0} end
  error(listed.err)
end
local removed, live = 0, 0
for _, fields in ipairs(listed) do
  local info = {}
  for n = 1, #fields, 2 do info[fields[n]] = fields[n + 1] end
  local silent = info['idle'] > tonumber(ARGV[3])
  local over = silent
  if ARGV[4] ~= '' then over = info['name'] == ARGV[4] end
  if over and info['pending'] == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], info['name'])
    removed = removed + 1
  elseif info['name'] ~= ARGV[2] and info['name'] ~= ARGV[4] and (info['pending'] > 0 or not silent) then
    live = live + 1
  end
end
return {removed, live}
