-- Makes or replaces a webhook of an account.
-- KEYS[1] acct:{id}:webhooks  hash: webhook id -> webhook (JSON)
-- ARGV    1 webhook id, 2 the webhook, 3 how many an account may have
-- Answers 1; 0 where it would be one too many.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
