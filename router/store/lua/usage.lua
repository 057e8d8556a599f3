-- Included by the scripts that look at a SIM's quotas.
-- quota:{id}       hash: m<minute> and h<hour> (both since 1970) -> parts reserved in that bucket
-- recipients:{id}  hash, only while there is a limit: month -> which one it is of (months since year 0), distinct -> how many recipients,
--                  r<fingerprint> -> attempts reserved for that one, a<attempt> -> r<fingerprint> until that attempt has ended
-- Gives the distinct recipients of this month; the whole hash is of one month.
local function recipients(key, month)
  local kept = redis.call('HMGET', key, 'month', 'distinct')
  return kept[1] == month and tonumber(kept[2] or '0') or 0
end
-- Gives the parts of the last 30 minutes, 60 minutes and 24 hours, and forgets what is older.
local function usage(key, now)
  local minute, hour = math.floor(now / 60), math.floor(now / 3600)
  local half, full, day = 0, 0, 0
  local buckets = redis.call('HGETALL', key)
  for i = 1, #buckets, 2 do
    local unit, at, parts = string.sub(buckets[i], 1, 1), tonumber(string.sub(buckets[i], 2)), tonumber(buckets[i + 1])
    if unit == 'm' and at > minute - 60 then
      full = full + parts
      if at > minute - 30 then
        half = half + parts
      end
    elseif unit == 'h' and at > hour - 24 then
      day = day + parts
    else
      redis.call('HDEL', key, buckets[i])
    end
  end
  return half, full, day
end
