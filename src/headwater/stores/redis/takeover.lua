-- Take an open stream over from another node, and fence whatever that node still sends.
-- KEYS  1 the stream's hash  2 its log
-- ARGV  1 from node  2 to node  3 a name of this attempt  4 expiry in ms
-- Answers {1, tail}, or {0, node} when the stream is not open or not that node's.
local node, epoch, closed, attempt =
  unpack(redis.call('HMGET', KEYS[1], 'node', 'epoch', 'closed', 'attempt'))
if attempt == ARGV[3] then
  return { 1, epoch .. '-0' } -- the answer to it was lost
end
if node ~= ARGV[1] or closed or redis.call('EXISTS', KEYS[2]) == 0 then
  return { 0, node or '' }
end
local fenced = string.format('%d', epoch + 1)
redis.call('XADD', KEYS[2], fenced .. '-0', 'd', '')
redis.call('HSET', KEYS[1], 'node', ARGV[2], 'epoch', fenced, 'attempt', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return { 1, fenced .. '-0' }
