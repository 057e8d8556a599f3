-- Makes a consumer known as alive: there, and not silent. KEYS: streams. ARGV: group, consumer.
-- A read that brings nothing leaves no trace before Redis 7.2, so a consumer that holds nothing is made anew; one that holds something is
-- seen by the renewal of its leases. No group is made here: that a group is missing is for the read to find, and to tell.
for i = 1, #KEYS do
  if has_group(KEYS[i], ARGV[1]) then
    for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[i], ARGV[1])) do
      local info = {}
      for n = 1, #fields, 2 do info[fields[n]] = fields[n + 1] end
      if info['name'] == ARGV[2] and info['pending'] == 0 then redis.call('XGROUP', 'DELCONSUMER', KEYS[i], ARGV[1], ARGV[2]) end
    end
    -- Refused while memory is full: then the next read that brings something does it
    redis.pcall('XGROUP', 'CREATECONSUMER', KEYS[i], ARGV[1], ARGV[2])
  end
end
return #KEYS
