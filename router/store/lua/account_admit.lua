-- May this account send this message? If so it is charged and counted; all or nothing, and once, however often it is asked.
-- KEYS[1] acct:{id}              hash: rev, balance (minor units), ...: see store/accounts.py
-- KEYS[2] acct:{id}:charges      hash: message id -> price|phone|idempotency key, until it is settled
-- KEYS[3] acct:{id}:unconfirmed  sorted set: message id -> when it was admitted, until its record was seen
-- KEYS[4] acct:{id}:messages     stream: i = message id, in the order of admission
-- KEYS[5] acct:{id}:day:<date>   counter; KEYS[6] acct:{id}:hour:<hour since 1970> counter
-- KEYS[7] acct:{id}:phone:<to>   sorted set: message id (behind a '-' where it is no code) -> when it was admitted, last hour
-- KEYS[8] acct:{id}:idem:<key>   hash: id, print (of the request's body); only where ARGV[11] is not ''
-- ARGV    1 rev that the caller read, 2 now, 3 message id, 4 price, 5 phone, 6 7 8 limits of day, hour, phone and hour (0 = none),
--         9 '1' = a seed can serve it, 10 '1' = it is a code, 11 print of the body, 12 idempotency seconds, 13 forget listings before (ms),
--         14 idempotency key
-- Answers {'ok', id of the phone's older code or ''}, {'changed'}, {'replay', id}, {'mismatch'}, {'day'|'hour'|'phone', seconds to
-- wait}, {'balance'}, {'unserved'}. Order: spec/gatewire.md, "when several apply".
--@include admission
local now, id, price = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local function older_code()
  for _, member in ipairs(redis.call('ZREVRANGE', KEYS[7], 0, 99)) do
    if member ~= id and string.sub(member, 1, 1) ~= '-' then
      return member
    end
  end
  return ''
end
if redis.call('HEXISTS', KEYS[2], id) == 1 then
  return {'ok', ARGV[10] == '1' and older_code() or ''}
end
if redis.call('HGET', KEYS[1], 'rev') ~= ARGV[1] then
  return {'changed'}
end
if ARGV[11] ~= '' then
  local known = redis.call('HMGET', KEYS[8], 'id', 'print')
  if known[1] then
    return known[2] == ARGV[11] and {'replay', known[1]} or {'mismatch'}
  end
end
local day, hour, phone = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local reached = over_account_limit(KEYS[5], KEYS[6], now, 1, day, hour) or over_phone_limit(KEYS[7], now, phone)
if reached then
  return reached
end
if tonumber(redis.call('HGET', KEYS[1], 'balance') or '0') < price then
  return {'balance'}
end
if ARGV[9] ~= '1' then
  return {'unserved'}
end
local older = ''
if ARGV[10] == '1' then
  older = older_code()
  redis.call('ZADD', KEYS[7], ARGV[2], id)
elseif phone > 0 then
  redis.call('ZADD', KEYS[7], ARGV[2], '-' .. id)
end
redis.call('EXPIRE', KEYS[7], 3600)
redis.call('HINCRBY', KEYS[1], 'balance', 0 - price) -- not `-price`: minus zero is no integer to Redis
redis.call('HSET', KEYS[2], id, ARGV[4] .. '|' .. ARGV[5] .. '|' .. ARGV[14])
redis.call('ZADD', KEYS[3], ARGV[2], id)
redis.call('XADD', KEYS[4], 'MINID', '~', ARGV[13], '*', 'i', id)
count_admitted(KEYS[5], KEYS[6], 1)
if ARGV[11] ~= '' then
  redis.call('HSET', KEYS[8], 'id', id, 'print', ARGV[11])
  redis.call('EXPIRE', KEYS[8], ARGV[12])
end
return {'ok', older}
