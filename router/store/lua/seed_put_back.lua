-- A slip that was fetched too early waits again, in its old place; one that was freed meanwhile does not come back.
-- KEYS[1] outbox:{id}  sorted set: attempt waiting -> when it was reserved
-- KEYS[2] held:{id}    sorted set: attempt fetched -> when it was reserved
-- ARGV    1 attempt
-- Answers 1, or 0 where the seed did not hold it (any more).
local reserved = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not reserved then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[1], reserved, ARGV[1])
return 1
