-- Removes what waits, not what is in hands. KEYS: a stream. ARGV: group, released, how many at most. Returns how many.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
make_group(KEYS[1], ARGV[1])
local ids = {}
for n, row in ipairs((pending(KEYS[1], ARGV[1], '-', '+', ARGV[3], ARGV[2]))) do ids[n] = row[1] end
local got = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', ARGV[3], 'NOACK', 'STREAMS', KEYS[1], '>')
if got then
  for _, entry in ipairs(got[1][2]) do ids[#ids + 1] = entry[1] end
end
if #ids == 0 then return 0 end
return remove(KEYS[1], ARGV[1], ids, 1, #ids)
