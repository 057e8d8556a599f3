-- Records an accepted message, once.
-- KEYS[1] msg:{id}   hash: v = version (integer), b = the message (JSON), t = its text, sealed
-- ARGV    1 message JSON, 2 sealed text, 3 Unix time in milliseconds at which the record may go
-- Answers 1; or 0 where a record, or the tombstone of a voided admission, stands there already.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'v', 1, 'b', ARGV[1], 't', ARGV[2])
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
return 1
