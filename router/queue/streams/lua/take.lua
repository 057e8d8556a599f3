-- Acknowledges, then takes up to a number of entries from several streams in their order: first what was given back, then what is new.
-- KEYS: `reads` streams to read, then the streams to acknowledge in. ARGV: group, consumer, released, number, reads, then for each stream
-- to acknowledge in: how many ids, the ids.
-- Returns: entries removed per acknowledged stream; {index of stream, entries, delivery counts} per take (no counts: first delivery);
-- indexes of the streams whose group was missing and has been made.
local group, consumer, released, left, reads = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local removed, taken, made = {}, {}, {}

local at = 6
for i = reads + 1, #KEYS do
  local ids = tonumber(ARGV[at])
  removed[#removed + 1] = remove(KEYS[i], group, ARGV, at + 1, at + ids)
  at = at + ids + 1
end

for i = 1, reads do
  if left <= 0 then break end
  local key = KEYS[i]
  local back, missing = pending(key, group, '-', '+', left, released)
  if missing and make_group(key, group) then made[#made + 1] = i end
  if #back > 0 then
    local ids = {}
    for n, row in ipairs(back) do ids[n] = row[1] end
    local entries, counts = take_over(key, group, consumer, ids)
    taken[#taken + 1] = {i, entries, counts}
    left = left - #entries
  end
  if left > 0 then
    local got = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', left, 'STREAMS', key, '>')
    if got then
      local entries = got[1][2]
      taken[#taken + 1] = {i, entries}
      left = left - #entries
    end
  end
end
return {removed, taken, made}
