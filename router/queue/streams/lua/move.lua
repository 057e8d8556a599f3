-- Moves an entry to other streams, in changed form. KEYS: the stream, then the targets. ARGV: group, id, meta, body.
-- Returns 0, and does nothing, if the entry is gone: it was acknowledged elsewhere.
local moved = remove(KEYS[1], ARGV[1], ARGV, 2, 2)
if moved == 1 then
  for i = 2, #KEYS do redis.call('XADD', KEYS[i], '*', 'm', ARGV[3], 'b', ARGV[4]) end
end
return moved
