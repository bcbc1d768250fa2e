-- Put off the expiry of a stream that runs and is still this node's.
-- KEYS  1 the stream's hash  2 its log
-- ARGV  1 node  2 expiry in ms
local node, closed = unpack(redis.call('HMGET', KEYS[1], 'node', 'closed'))
if node ~= ARGV[1] or closed then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
