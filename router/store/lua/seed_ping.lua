-- A sign of life. The first one makes the seed; later ones change the time only (spec/relaysms.md), or fill in what was not known.
-- KEYS[1] seed:{id}   hash: see store/seeds.py, FIELDS
-- ARGV    1 now, 2 msisdn, 3 seed type, 4 carrier, 5 country, 6 '1' = enrol it, 7 token hash to keep when it has none
-- Answers {carrier, '1' where this enrolled it anew}.
local key = KEYS[1]
if redis.call('HSETNX', key, 'first_ping', ARGV[1]) == 1 then
  redis.call('HSETNX', key, 'enabled', '1')
end
redis.call('HSET', key, 'lps', ARGV[1])
for i, field in ipairs({'msisdn', 'kind', 'carrier', 'country'}) do
  local known = redis.call('HGET', key, field)
  if ARGV[i + 1] ~= '' and (not known or known == '') then
    redis.call('HSET', key, field, ARGV[i + 1])
  end
end
local enrolled = '0'
if ARGV[6] == '1' and redis.call('HGET', key, 'enrolled') ~= '1' then
  redis.call('HSET', key, 'enrolled', '1', 'token_hash', ARGV[7])
  enrolled = '1'
end
return {redis.call('HGET', key, 'carrier') or '', enrolled}
