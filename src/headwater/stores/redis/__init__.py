"""Logs in Redis 6.2 or newer, or in Valkey: for several processes, on one machine or on many."""

from headwater.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
