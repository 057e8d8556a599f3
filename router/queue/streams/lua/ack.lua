-- Acknowledges and deletes. KEYS: streams. ARGV: group, then for each stream: how many ids, the ids. Returns: entries removed per stream.
local removed = {}
local at = 2
for i = 1, #KEYS do
  local ids = tonumber(ARGV[at])
  removed[i] = remove(KEYS[i], ARGV[1], ARGV, at + 1, at + ids)
  at = at + ids + 1
end
return removed
