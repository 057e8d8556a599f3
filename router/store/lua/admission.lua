-- Included by the scripts that admit messages: an account's limits, in the order in which they are told (spec/gatewire.md, "when several
-- apply"). Each function answers nil, or what to answer the caller: {'day'|'hour'|'phone', seconds to wait}.

-- day_key acct:{id}:day:<date>, hour_key acct:{id}:hour:<hour since 1970>: counters. `count` messages more; limits of 0 are none.
local function over_account_limit(day_key, hour_key, now, count, day, hour)
  if day > 0 and tonumber(redis.call('GET', day_key) or '0') + count > day then
    return {'day', 86400 - math.floor(now) % 86400}
  end
  if hour > 0 and tonumber(redis.call('GET', hour_key) or '0') + count > hour then
    return {'hour', 3600 - math.floor(now) % 3600}
  end
  return nil
end

-- phone_key acct:{id}:phone:<to>: sorted set, message id -> when it was admitted, last hour. One message more.
local function over_phone_limit(phone_key, now, phone)
  redis.call('ZREMRANGEBYSCORE', phone_key, '-inf', now - 3600)
  if phone > 0 and redis.call('ZCARD', phone_key) >= phone then
    local oldest = redis.call('ZRANGE', phone_key, 0, 0, 'WITHSCORES')
    return {'phone', math.ceil(tonumber(oldest[2]) + 3600 - now)}
  end
  return nil
end

local function count_admitted(day_key, hour_key, count)
  redis.call('INCRBY', day_key, count)
  redis.call('EXPIRE', day_key, 172800)
  redis.call('INCRBY', hour_key, count)
  redis.call('EXPIRE', hour_key, 7200)
end
