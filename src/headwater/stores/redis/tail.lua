-- Where a log ends, and whether for good, seen at one moment.
-- KEYS  1 the stream's hash  2 its log
-- Answers {tail, 1 when it has ended}, or nothing when there is no such stream.
local epoch, closed = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'closed'))
local tail = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if not epoch or (not tail and redis.call('EXISTS', KEYS[2]) == 0) then
  return false
end
return { tail and tail[1] or '0-0', closed and 1 or 0 }
