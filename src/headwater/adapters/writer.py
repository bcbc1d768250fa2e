"""Writing a stream from where there is no reader: a Celery, RQ or Temporal worker.

`Headwater.start` returns a `StreamWriter`, a context manager. Leaving its context ends the stream;
leaving it by an exception ends the stream in error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any

from headwater.adapters.bridge import Bridge
from headwater.errors import HeadwaterError, StoppedError
from headwater.events import Event, FinishReason, ReasoningDelta, TextDelta, Usage
from headwater.providers.pushed import PushedSource
from headwater.streams import LocalStream

log = logging.getLogger("headwater")

#: Begins a stream of a source.
Begin = Callable[[PushedSource], Awaitable[LocalStream]]


class Writer:
    """A stream that is being written, from a coroutine. `id` is by what readers find it.

    Each method raises `StoppedError` when nobody wants the rest.
    """

    def __init__(self, stream: LocalStream, source: PushedSource) -> None:
        self.id = stream.id
        self._source = source
        self._reason: FinishReason | None = None

    @property
    def stopped(self) -> bool:
        """Whether nobody wants the rest."""
        return self._source.cancelled.is_set()

    async def text(self, text: str) -> None:
        """A piece of the answer."""
        await self.write(TextDelta(text))

    async def reasoning(self, text: str) -> None:
        """A piece of the thoughts before it."""
        await self.write(ReasoningDelta(text))

    async def write(self, item: Event | str | Any) -> None:
        """What a generator of one's own may yield: a string, an event, a chunk of an SDK."""
        if self.stopped:
            raise StoppedError
        self._source.write(item)
        await asyncio.sleep(0)  # what was written is on its way before the next is made

    def end(self, reason: FinishReason = "stop", usage: Usage | None = None) -> None:
        """Say how it ends, when the context is left."""
        self._reason, self._source.usage = reason, usage

    def finish(self) -> None:
        """For `StreamWriter`."""
        self._source.finish(self._reason)


class SyncWriter:
    """The same from a thread: its methods block until the stream has what was written."""

    def __init__(self, writer: Writer, bridge: Bridge) -> None:
        self.id = writer.id
        self._writer = writer
        self._bridge = bridge

    @property
    def stopped(self) -> bool:
        """Whether nobody wants the rest."""
        return self._writer.stopped

    def text(self, text: str) -> None:
        """A piece of the answer."""
        self._bridge.call(lambda: self._writer.text(text))

    def reasoning(self, text: str) -> None:
        """A piece of the thoughts before it."""
        self._bridge.call(lambda: self._writer.reasoning(text))

    def write(self, item: Event | str | Any) -> None:
        """What a generator of one's own may yield: a string, an event, a chunk of an SDK."""
        self._bridge.call(lambda: self._writer.write(item))

    def end(self, reason: FinishReason = "stop", usage: Usage | None = None) -> None:
        """Say how it ends, when the context is left."""
        self._writer.end(reason, usage)


class StreamWriter:
    """A stream to write: `async with`, or `with` where there is no event loop."""

    def __init__(self, begin: Begin, bridge: Callable[[], Bridge]) -> None:
        self._begin = begin
        self._bridge = bridge
        self._source: PushedSource | None = None
        self._writer: Writer | None = None
        self._stream: LocalStream | None = None

    async def __aenter__(self) -> Writer:
        source = self._source = PushedSource()
        self._stream = await self._begin(source)
        self._writer = Writer(self._stream, source)
        return self._writer

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if self._source is None or self._writer is None or self._stream is None:
            return False
        if error is None:
            self._writer.finish()
        elif isinstance(error, HeadwaterError):
            self._source.fail(error)
        elif not self._writer.stopped:
            self._source.fail(HeadwaterError("internal", "Whoever wrote this stream failed."))
        await self._stream.ended()  # the process may end right after this
        return isinstance(error, StoppedError)  # somebody wanted it so

    def __enter__(self) -> SyncWriter:
        return SyncWriter(self._call(self.__aenter__), self._bridge())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        quiet: bool = self._call(lambda: self.__aexit__(kind, error, trace))
        return quiet

    def _call(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return self._bridge().call(make)
