"""Where logs are kept: bytes under positions, appended in one checked step."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from headwater.errors import ConfigurationError
from headwater.settings import Settings, StoreSettings
from headwater.settings.plugins import Registry
from headwater.settings.store_url import REDIS, resolved, sqlite_path
from headwater.stores.base import Store

#: Makes a store of a URL; `turn_s` is how long connecting to one may take.
Factory = Callable[[str, StoreSettings, float], Store]


def open(settings: Settings, environ: Mapping[str, str] | None = None) -> Store:  # noqa: A001
    """Make the store that `store.url` names. It connects when its own `open` is awaited.

    `environ` is the process's environment unless given. Errors hold no part of the URL.

    Raises:
        ConfigurationError: there is no such store, or it lacks a library.

    """
    return _opener(settings, environ)()


def check(settings: Settings, environ: Mapping[str, str] | None = None) -> None:
    """Raise as `open` would, without making anything: a server fails before it listens."""
    _opener(settings, environ)


def _opener(settings: Settings, environ: Mapping[str, str] | None) -> Callable[[], Store]:
    url = resolved(settings.store.url, os.environ if environ is None else environ)
    try:
        load = REGISTRY.get(url.partition(":")[0])
    except ConfigurationError as error:
        raise ConfigurationError(f"store.url: {error.message}") from error
    return partial(load(), url, settings.store, settings.timeouts.connect_s)


def _memory() -> Factory:
    from headwater.stores.memory import MemoryStore

    return lambda url, store, turn_s: MemoryStore(ttl_s=store.ttl_s, max_bytes=store.max_bytes)


def _sqlite() -> Factory:
    from headwater.stores.sqlite import SqliteStore

    return lambda url, store, turn_s: SqliteStore(
        Path(sqlite_path(url)), ttl_s=store.ttl_s, lease_s=store.lease_s
    )


def _redis() -> Factory:
    try:
        from headwater.stores.redis import RedisStore
    except ImportError as error:
        raise ConfigurationError(
            "store.url: Redis needs redis-py: pip install 'headwater[redis]'"
        ) from error
    return lambda url, store, turn_s: RedisStore(
        url, ttl_s=store.ttl_s, lease_s=store.lease_s, turn_s=turn_s, prefix=store.prefix
    )


def _of_package(name: str, found: Any) -> Callable[[], Factory]:
    if not callable(found):
        raise TypeError(f"it is a {type(found).__name__}, and must be called")
    return lambda: lambda url, store, turn_s: found(url, store)


#: What loads each scheme's factory: a library that is missing is missed only by its own scheme.
REGISTRY: Final[Registry[Callable[[], Factory]]] = Registry(
    "headwater.stores",
    "store scheme",
    {"memory": _memory, "sqlite": _sqlite, **dict.fromkeys(REDIS, _redis)},
    _of_package,
)
