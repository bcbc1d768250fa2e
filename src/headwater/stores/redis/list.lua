-- Names of a list, newest first.
-- KEYS  1 the list      ARGV  1 how many to pass over  2 how many to answer
return redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', '(0', 'LIMIT', ARGV[1], ARGV[2])
