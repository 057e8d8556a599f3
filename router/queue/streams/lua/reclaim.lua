-- Takes over what dead consumers hold. KEYS: streams. ARGV: group, consumer, idle ms, number, then a cursor per stream.
-- Returns: {index of stream, entries, delivery counts} per stream with any; the next cursors.
local group, consumer, idle, left = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local taken, cursors = {}, {}
for i = 1, #KEYS do
  cursors[i] = ARGV[4 + i]
  if left > 0 then
    local found = redis.pcall('XAUTOCLAIM', KEYS[i], group, consumer, idle, cursors[i], 'COUNT', left, 'JUSTID')
    if found.err then
      if not string.find(found.err, 'NOGROUP', 1, true) then error(found.err) end
      cursors[i] = '0-0'
    else
      cursors[i] = found[1]
      if #found[2] > 0 then
        local entries, counts = take_over(KEYS[i], group, consumer, found[2])
        if #entries > 0 then taken[#taken + 1] = {i, entries, counts} end
        left = left - #entries
      end
    end
  end
end
return {taken, cursors}
