"""The store `scratch://`: the one in memory, for streams that nobody comes back to."""

from __future__ import annotations

from headwater.settings import StoreSettings
from headwater.stores.base import Store
from headwater.stores.memory import MemoryStore


def open_store(url: str, settings: StoreSettings) -> Store:
    """A log is forgotten ten seconds after its end."""
    return MemoryStore(ttl_s=10.0, max_bytes=settings.max_bytes)
