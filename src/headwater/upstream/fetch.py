"""A whole response over the pool, for what is not a stream: lists of models, health."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

from headwater.errors import UpstreamError
from headwater.upstream.exchange import Request
from headwater.upstream.pool import Pool

# The longest list of models seen (OpenRouter's) is under 1 MiB.
_MAX_BODY: Final = 4 * 1024 * 1024


class Fetched(NamedTuple):
    """A response, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def fetch(pool: Pool, request: Request, timeout_s: float) -> Fetched:
    """The response to `request`; `UpstreamError` when there is none in time."""
    collector = _Collector()
    exchange = pool.send(request, collector)
    try:
        async with asyncio.timeout(timeout_s):
            return await collector.done
    except TimeoutError:
        raise UpstreamError(
            "upstream_timeout", f"{exchange.origin.authority} did not answer in {timeout_s:g} s."
        ) from None
    finally:
        if not collector.done.done() or collector.done.cancelled():
            exchange.cancel()


class _Collector:
    def __init__(self) -> None:
        self.done: asyncio.Future[Fetched] = asyncio.get_running_loop().create_future()
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._body = bytearray()

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        self._status, self._headers = status, headers

    def on_data(self, data: bytes) -> None:
        if len(self._body) < _MAX_BODY:
            self._body += data

    def on_end(self, error: UpstreamError | None) -> None:
        if self.done.done():
            return
        if error is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(Fetched(self._status, self._headers, bytes(self._body)))
