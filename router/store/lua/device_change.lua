-- Sets fields of a phone that exists: what comes late must not bring back one that was deleted.
-- KEYS[1] device:{id}  hash: see store/devices.py
-- ARGV    field, value, field, value, ...
-- Answers 1, or 0 where there is no such phone (any more).
if redis.call('HEXISTS', KEYS[1], 'account') == 0 then
  return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV))
return 1
