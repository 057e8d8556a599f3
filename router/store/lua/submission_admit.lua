-- May this account send all messages of this submission? If so they are charged and counted and the submission is noted; all of it or
-- nothing, and once, however often it is asked. So of two requests with one id or one idempotency key exactly one is admitted.
-- KEYS[1] acct:{id}              hash: rev, balance (minor units), ...: see store/accounts.py
-- KEYS[2] acct:{id}:charges      hash: message id -> price|phone|\0submission\0idempotency key, until it is settled
-- KEYS[3] acct:{id}:unconfirmed  sorted set: message id -> when it was admitted, until its record was seen
-- KEYS[4] acct:{id}:messages     stream: i = message id, in the order of admission
-- KEYS[5] acct:{id}:day:<date>   counter; KEYS[6] acct:{id}:hour:<hour since 1970> counter
-- KEYS[7] acct:{id}:idem:<key>   hash: id (of the submission), print (of the request's body); only where ARGV[8] is not ''
-- KEYS[8] acct:{id}:sub:<id>     string <messages not undone>:<id of its entry in the list>:<record>: see store/submissions.py
-- KEYS[9] acct:{id}:submissions  stream: i = submission id, c = created at, g = gone at (both ms), in the order of admission
-- KEYS[10...] acct:{id}:phone:<to>  sorted set of each recipient: message id (behind a '-': it is no code) -> when it was admitted
-- ARGV    1 rev that the caller read, 2 now, 3 price of each, 4 5 6 limits of day, hour, phone and hour (0 = none),
--         7 '1' = seeds can serve all of them, 8 print of the body, 9 idempotency seconds, 10 forget listings before (ms),
--         11 what stands behind the phone in a charge, 12 submission id, 13 its record, 14 created at, 15 gone at (both ms),
--         16... message id and phone of each recipient, in turn
-- Answers {'ok'}, {'changed'}, {'replay', submission id}, {'mismatch'}, {'taken'}, {'day'|'hour'|'phone', seconds to wait}, {'balance'},
-- {'unserved'}.
--@include admission
local now, price, phone = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[6])
local count = (#ARGV - 15) / 2
if redis.call('HEXISTS', KEYS[2], ARGV[16]) == 1 then
  return {'ok'}
end
if redis.call('HGET', KEYS[1], 'rev') ~= ARGV[1] then
  return {'changed'}
end
if ARGV[8] ~= '' then
  local known = redis.call('HMGET', KEYS[7], 'id', 'print')
  if known[1] then
    return known[2] == ARGV[8] and {'replay', known[1]} or {'mismatch'}
  end
end
if redis.call('EXISTS', KEYS[8]) == 1 then
  return {'taken'}
end
local reached = over_account_limit(KEYS[5], KEYS[6], now, count, tonumber(ARGV[4]), tonumber(ARGV[5]))
for i = 1, phone > 0 and count or 0 do
  reached = reached or over_phone_limit(KEYS[9 + i], now, phone)
end
if reached then
  return reached
end
if tonumber(redis.call('HGET', KEYS[1], 'balance') or '0') < price * count then
  return {'balance'}
end
if ARGV[7] ~= '1' then
  return {'unserved'}
end
redis.call('HINCRBY', KEYS[1], 'balance', 0 - price * count)
for i = 1, count do
  local id, to = ARGV[14 + 2 * i], ARGV[15 + 2 * i]
  redis.call('HSET', KEYS[2], id, ARGV[3] .. '|' .. to .. '|' .. ARGV[11])
  redis.call('ZADD', KEYS[3], ARGV[2], id)
  redis.call('XADD', KEYS[4], 'MINID', '~', ARGV[10], '*', 'i', id)
  if phone > 0 then
    redis.call('ZADD', KEYS[9 + i], ARGV[2], '-' .. id)
    redis.call('EXPIRE', KEYS[9 + i], 3600)
  end
end
count_admitted(KEYS[5], KEYS[6], count)
local entry = redis.call('XADD', KEYS[9], 'MINID', '~', ARGV[10], '*', 'i', ARGV[12], 'c', ARGV[14], 'g', ARGV[15])
redis.call('SET', KEYS[8], string.format('%d:', count) .. entry .. ':' .. ARGV[13], 'PXAT', ARGV[15])
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[7], 'id', ARGV[12], 'print', ARGV[8])
  redis.call('EXPIRE', KEYS[7], ARGV[9])
end
return {'ok'}
