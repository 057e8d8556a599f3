-- Gives entries back, to be taken next, in their old order. KEYS: a stream. ARGV: group, consumer, released, ids.
-- Only what is still this consumer's; returns how many were.
local given = 0
for i = 4, #ARGV do
  if owned(KEYS[1], ARGV[1], ARGV[2], ARGV[i]) then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, ARGV[i], 'JUSTID')
    given = given + 1
  end
end
return given
