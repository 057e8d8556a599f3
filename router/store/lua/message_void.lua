-- Puts a tombstone where an admitted message was never recorded, so that a late writer cannot record it after its charge was undone.
-- KEYS[1] msg:{id}   hash; a tombstone has v = 0 and no b
-- ARGV    1 how long the tombstone stands, in milliseconds
-- Answers 1 where the message is void (now or before), 0 where it was recorded.
if redis.call('HEXISTS', KEYS[1], 'b') == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'v', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
