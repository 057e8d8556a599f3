-- A seed's reliability tests change, and with them what the choice of seeds knows of its reliability: a compare-and-set.
-- KEYS[1] tests:{id}   string: its tests, msgpack (domain/reliability.py, History)
-- KEYS[2] seed:{id}    hash: reliability, probes
-- ARGV    1 the tests as they were read ('' = none), 2 the tests from now on, 3 share of successes, 4 of how many
-- Answers 1; or 0 where they have changed since, or the seed is gone.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] or redis.call('EXISTS', KEYS[2]) == 0 then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
if ARGV[4] ~= '0' then
  redis.call('HSET', KEYS[2], 'reliability', ARGV[3], 'probes', ARGV[4])
end
return 1
