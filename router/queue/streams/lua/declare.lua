-- Declares a queue. KEYS: hash of queues, streams. ARGV: group, released, queue, record of its arguments (JSON; '': none is kept),
-- lifetime in ms without consumers (0: no end), 1 if it came without arguments: then those that are there stay.
-- Returns how many entries wait; the record that was there before, or ''.
local before = redis.call('HGET', KEYS[1], ARGV[3]) or ''
if ARGV[4] ~= '' and ARGV[4] ~= before and (before == '' or ARGV[6] == '0') then redis.call('HSET', KEYS[1], ARGV[3], ARGV[4]) end
local waiting = 0
for i = 2, #KEYS do
  make_group(KEYS[i], ARGV[1])
  if tonumber(ARGV[5]) > 0 then redis.call('PEXPIRE', KEYS[i], ARGV[5]) end
  waiting = waiting + (count(KEYS[i], ARGV[1], ARGV[2]))
end
return {waiting, before}
