"""The store of one machine: a file, shared by the processes that serve from it."""

from headwater.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
