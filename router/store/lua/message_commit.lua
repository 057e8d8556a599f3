-- Makes a decision true: the compare-and-set under every transition.
-- KEYS[1] msg:{id}   string <version>:<length of the text>:<text, sealed><record>: see store/messages.py
-- ARGV    1 the version that was read, 2 the new record, 3 '1' when the text is to be erased
-- Answers 1; or 0 where the record has changed since (or is gone).
local version, length = string.match(redis.call('GETRANGE', KEYS[1], 0, 31), '^(%d+):(%d+):')
if version ~= ARGV[1] then
  return 0
end
local text = ''
if ARGV[3] ~= '1' and length ~= '0' then
  local start = #version + #length + 2
  text = redis.call('GETRANGE', KEYS[1], start, start + tonumber(length) - 1)
end
redis.call('SET', KEYS[1], string.format('%d:%d:', version + 1, #text) .. text .. ARGV[2], 'KEEPTTL')
return 1
