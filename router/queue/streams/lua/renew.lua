-- Renews leases. KEYS: a stream. ARGV: group, consumer, ids. Returns the ids that are not this consumer's any more.
local group, consumer = ARGV[1], ARGV[2]
local lost, mine = {}, {}
for i = 3, #ARGV do
  if owned(KEYS[1], group, consumer, ARGV[i]) then mine[#mine + 1] = ARGV[i] else lost[#lost + 1] = ARGV[i] end
end
for from = 1, #mine, CHUNK do
  local claim = {KEYS[1], group, consumer, 0, unpack(mine, from, math.min(from + CHUNK - 1, #mine))}
  claim[#claim + 1] = 'JUSTID'
  redis.call('XCLAIM', unpack(claim))
end
return lost
