-- Begins every script of a list: removes names whose time is over.
-- A list is a sorted set that holds a stream twice. Under 'p' and its name the score is its place,
-- which counts up from 1: newest first needs no clock. Under 't' it is minus the time, in ms, at
-- which its name goes. So one key holds both, and expires as a whole.
-- KEYS  1 the list
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- More than one write adds, so the list is trimmed at any rate; bounded, since Redis waits for it.
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], -now, '(0', 'LIMIT', 0, 256)) do
  redis.call('ZREM', KEYS[1], name, 'p' .. string.sub(name, 2))
end
