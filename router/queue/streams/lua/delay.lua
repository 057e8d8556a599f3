-- Keeps messages until they are due. KEYS: sorted sets. ARGV: for each: delay in ms, member. The server's clock counts.
local now = milliseconds()
for i = 1, #KEYS do
  redis.call('ZADD', KEYS[i], now + tonumber(ARGV[2 * i - 1]), ARGV[2 * i])
end
return #KEYS
