-- Forgets a special parking lot that was seen empty, unless a message has been put there since.
-- KEYS[1] lots:{special}  sorted set: lot -> when a message was last put there
-- ARGV    1 lot, 2 that time as it was when the lot was looked at
-- Answers 1, or 0 where it stays.
local at = redis.call('ZSCORE', KEYS[1], ARGV[1])
if at and tonumber(at) == tonumber(ARGV[2]) then
  return redis.call('ZREM', KEYS[1], ARGV[1])
end
return 0
