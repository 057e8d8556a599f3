-- What a phone tells of one of its SIMs, below what an operator has said of it.
-- KEYS[1] seed:{id}        hash: see store/seeds.py, FIELDS; and
--         carrier_told     the carrier that the phone's word came to: where `carrier` is another one, somebody has corrected it
--         carrier_by       'operator' = an operator has said it, whatever the phone says
--         disabled_by      'phone' = disabled only since the SIM was gone
-- KEYS[2] quota:{id}       hash of buckets: see usage.lua
-- KEYS[3] recipients:{id}  whom it has sent to
-- ARGV    1 '1' = it is another card than the one that was in the slot, 2 kind, 3 msisdn, 4 carrier, 5 country ('' = nobody knows)
-- Answers {carrier before, carrier now, last ping, '1' = it is enrolled, account, '0' = it serves that account only}.
-- Another card has another number, carrier, quotas and record: nothing that was learned or said of the old one is kept, but for being
-- disabled by an operator, and for the bounds that an operator gave to the slot.
local key = KEYS[1]
local before = redis.call('HGET', key, 'carrier') or ''
if ARGV[1] == '1' then
  redis.call('DEL', KEYS[2], KEYS[3])
  redis.call('HDEL', key, 'carrier', 'country', 'carrier_by', 'carrier_told', 'msisdn', 'consecutive_failures', 'failed_at', 'bad',
    'outcomes', 'seconds_to_sent', 'sent', 'failed', 'rest_seconds', 'last_given_at', 'given_before', 'limited_at')
end
redis.call('HSET', key, 'kind', ARGV[2])
local known = redis.call('HMGET', key, 'carrier', 'carrier_told', 'carrier_by', 'disabled_by', 'msisdn')
local carrier = known[1] or ''
if ARGV[4] ~= '' and (carrier == '' or (known[3] ~= 'operator' and carrier == known[2])) then
  carrier = ARGV[4]
  redis.call('HSET', key, 'carrier', carrier, 'country', ARGV[5], 'carrier_told', carrier)
end
if ARGV[3] ~= '' and (known[5] or '') == '' then
  redis.call('HSET', key, 'msisdn', ARGV[3])
end
if known[4] == 'phone' then
  redis.call('HSET', key, 'enabled', '1')
  redis.call('HDEL', key, 'disabled_by')
end
local rest = redis.call('HMGET', key, 'lps', 'enrolled', 'account', 'shared')
return {before, carrier, rest[1] or '', rest[2] or '', rest[3] or '', rest[4] or ''}
