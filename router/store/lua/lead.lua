-- One process at a time is at work; another takes over when its time is over.
-- KEYS[1] amqp:{relay} or heartbeat:{beat}:lead   string: the name of the one that is at work; expires
-- ARGV    1 name, 2 milliseconds that it stays (0 = it leaves)
-- Answers 1 where this process is the one, else 0.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
