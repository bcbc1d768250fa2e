-- Keep a stream in a list for some time from now, in its place; new in the list, it is the newest.
-- KEYS  1 the list      ARGV  1 stream  2 time in ms
if not redis.call('ZSCORE', KEYS[1], 'p' .. ARGV[1]) then
  local last = tonumber(redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or 0)
  redis.call('ZADD', KEYS[1], math.max(last, 0) + 1, 'p' .. ARGV[1])
end
redis.call('ZADD', KEYS[1], -(now + ARGV[2]), 't' .. ARGV[1])
-- The list goes with the last of its names.
redis.call('PEXPIREAT', KEYS[1], -redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2])
return 1
