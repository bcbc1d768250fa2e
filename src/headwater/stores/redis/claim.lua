-- Let a key stand for a value unless it stands for another (SET with NX and GET needs Redis 7).
-- KEYS  1 the claim      ARGV  1 value  2 ttl in ms
local held = redis.call('GET', KEYS[1])
if held then
  return held
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
