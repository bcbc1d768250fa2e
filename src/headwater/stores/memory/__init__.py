"""The store of one process: everything in dictionaries, the oldest ended log dropped first."""

from headwater.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
