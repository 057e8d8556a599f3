-- What the choice wants to know of a seed, at one moment.
-- KEYS[1] seed:{id}   hash: see store/seeds.py, FIELDS
-- KEYS[2] quota:{id}, KEYS[3] recipients:{id}  hashes: see usage.lua
-- ARGV    1 now, 2 month, 3.. the fields wanted
-- Answers half hour, hour, day (parts), month (recipients), then the fields' values; nil where there is no such seed.
--@include usage
if redis.call('EXISTS', KEYS[1]) == 0 then
  return nil
end
local half, hour, day = usage(KEYS[2], tonumber(ARGV[1]))
local fields = {}
for i = 3, #ARGV do
  fields[#fields + 1] = ARGV[i]
end
return {half, hour, day, recipients(KEYS[3], ARGV[2]), redis.call('HMGET', KEYS[1], unpack(fields))}
