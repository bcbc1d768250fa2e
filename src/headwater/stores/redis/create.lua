-- Begin an empty log in epoch 1. May run twice, when the first answer was lost.
-- KEYS  1 the stream's hash  2 its log
-- ARGV  1 record  2 node  3 expiry in ms  4 plan, or ''
redis.call('HSET', KEYS[1], 'record', ARGV[1], 'node', ARGV[2], 'epoch', '1')
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'plan', ARGV[4])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
-- The one way to have a Redis Stream without an entry: a log that is missing is then a lost one.
redis.call('XGROUP', 'CREATE', KEYS[2], 'none', '$', 'MKSTREAM')
redis.call('XGROUP', 'DESTROY', KEYS[2], 'none')
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
