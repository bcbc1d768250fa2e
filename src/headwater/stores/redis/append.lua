-- Append one entry: the stream exists, is open, is of this epoch, and ends at `prev`.
-- KEYS  1 the stream's hash  2 its log
-- ARGV  1 epoch  2 prev  3 last  4 data  5 ttl in ms when this ends the stream, else ''
--       6 '1' when it was sent before and its answer was lost, else ''
-- Answers with the number of: 1 ok, 2 duplicate, 3 fenced, 4 gap, 5 closed, 6 gone.
local epoch, closed = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'closed'))
-- The log itself says where it ends. A number beside it could tell of entries that are lost.
local tail = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if not epoch or (not tail and redis.call('EXISTS', KEYS[2]) == 0) then
  return 6
end
if epoch == ARGV[1] and not closed and (tail and tail[1] or '0-0') == ARGV[2] then
  local added = redis.pcall('XADD', KEYS[2], ARGV[3], 'd', ARGV[4])
  if type(added) == 'table' then
    -- Numbers of 64 bits do not fit into Lua's: Redis compares the positions.
    if string.find(added.err, 'equal or smaller', 1, true) then
      return 4
    end
    return added
  end
  if ARGV[5] ~= '' then
    redis.call('HSET', KEYS[1], 'closed', '1')
    redis.call('HDEL', KEYS[1], 'plan')
    redis.call('PEXPIRE', KEYS[1], ARGV[5])
    redis.call('PEXPIRE', KEYS[2], ARGV[5])
  end
  return 1
end
if tail and tail[1] == ARGV[3] and tail[2][2] == ARGV[4] then
  return 2
end
if ARGV[6] == '1' then
  -- Others of the same pipeline may have been taken after it.
  local there = redis.call('XRANGE', KEYS[2], ARGV[3], ARGV[3])[1]
  if there and there[2][2] == ARGV[4] then
    return 2
  end
end
if closed then
  return 5
end
if tonumber(epoch) > tonumber(ARGV[1]) then
  return 3
end
return 4
