"""Whether a stream could begin now, asked of the store at most once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from headwater.errors import ConfigurationError, StorageError
from headwater.observe.logs import without_request
from headwater.stores.base import Store

# A probe that takes longer has failed. Its answer holds for a second, since anyone may ask for it.
_TAKES_S: Final = 2.0
_HOLDS_S: Final = 1.0


class Readiness:
    """Probes a store. Callers at the same time share one probe. Belongs to one event loop."""

    def __init__(self, store: Store, connect: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._connect = connect
        self._probe: asyncio.Task[None] | None = None
        self._probed_at = 0.0

    async def check(self) -> None:
        """`StorageError`, which names the remedy, while the store takes no stream."""
        loop, probe = asyncio.get_running_loop(), self._probe
        if probe is None or (probe.done() and loop.time() - self._probed_at >= _HOLDS_S):
            probe = self._probe = loop.create_task(self._ask(), context=without_request())
            # Its callers may have left by the time it has failed.
            probe.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(probe)

    def stop(self) -> None:
        """Give up a probe that is under way."""
        if self._probe is not None:
            self._probe.cancel()

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(_TAKES_S):
                await self._connect()
                await self._store.ready()
        except TimeoutError as error:
            raise StorageError(
                "store_unavailable", f"The store has not answered within {_TAKES_S:g} s."
            ) from error
        except ConfigurationError as error:  # found out only when it was first asked
            raise StorageError("store_unavailable", error.message) from error
        finally:
            self._probed_at = asyncio.get_running_loop().time()
