-- Puts a tombstone where an admitted message was never recorded, so that a late writer cannot record it after its charge was undone.
-- KEYS[1] msg:{id}   string; a tombstone is ARGV[1]
-- ARGV    1 the tombstone, 2 how long it stands, in milliseconds
-- Answers 1 where the message is void (now or before), 0 where it was recorded.
if redis.call('STRLEN', KEYS[1]) > #ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
