-- Appends many messages. KEYS: streams. ARGV: for each stream: how many messages, below 0 if the stream must be there; then meta and body
-- of each. Returns the indexes of streams that must be there and are not: their messages are dropped.
local at = 1
local gone = {}
for i = 1, #KEYS do
  local messages = tonumber(ARGV[at])
  local skip = false
  if messages < 0 then
    messages = -messages
    skip = redis.call('EXISTS', KEYS[i]) == 0
    if skip then gone[#gone + 1] = i end
  end
  at = at + 1
  for _ = 1, messages do
    if not skip then
      if ARGV[at] == '' then
        redis.call('XADD', KEYS[i], '*', 'b', ARGV[at + 1])
      else
        redis.call('XADD', KEYS[i], '*', 'm', ARGV[at], 'b', ARGV[at + 1])
      end
    end
    at = at + 2
  end
end
return gone
