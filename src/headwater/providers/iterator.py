"""The user's own generator as a source: strings, or events of ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

from headwater.errors import HeadwaterError
from headwater.events import Event, StreamEnd, StreamError, StreamStart, TextDelta, Usage
from headwater.providers.base import Finish, Receiver
from headwater.providers.text import Surrogates

log = logging.getLogger("headwater.providers")

Item = str | Event
Items = AsyncIterable[Item] | Iterable[Item]


class IteratorSource:
    """Runs an iterator, sync or async, in a task; a sync one step by step in a thread.

    What it raises ends the stream in error; the message goes to the log only, since it may hold
    anything.
    """

    connected_at: float | None = None
    usage: Usage | None = None

    def __init__(self, items: Items) -> None:
        self._items = items
        self._task: asyncio.Task[None] | None = None
        self._surrogates = Surrogates()

    def start(self, receiver: Receiver) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(receiver))

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self, receiver: Receiver) -> None:
        items = _async(self._items)
        try:
            async for item in items:
                event = self._event(item)
                if event is not None:
                    receiver.events((event,))
        except HeadwaterError as error:
            receiver.end(error)
        except Exception:
            log.exception("a generator raised")
            receiver.end(HeadwaterError("internal", "The generator of this stream failed."))
        else:
            rest = self._surrogates.rest()
            if rest:
                receiver.events(rest)
            receiver.end(Finish("stop"))
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    def _event(self, item: Item) -> Event | None:
        if isinstance(item, str):
            text = self._surrogates.clean("text", item) if item else ""
            return TextDelta(text) if text else None
        if isinstance(item, (StreamStart, StreamEnd, StreamError)):
            raise TypeError("a generator does not make the first or the terminal event")
        if not isinstance(item, Event):
            raise TypeError(f"a generator yields strings or events, not {type(item).__name__}")
        return item


def _async(items: Items) -> AsyncIterator[Item]:
    return aiter(items) if isinstance(items, AsyncIterable) else _threaded(iter(items))


async def _threaded(items: Iterator[Item]) -> AsyncIterator[Item]:
    end = object()
    try:
        while (item := await asyncio.to_thread(next, items, end)) is not end:
            yield item  # type: ignore[misc]  # what is not the sentinel is an item
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            await asyncio.to_thread(close)
