"""The user's own generator as a source: strings, events of ours, or what SDKs and agents yield."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import copy_context
from inspect import isawaitable
from typing import Any, TypeGuard

from headwater.errors import HeadwaterError
from headwater.events import Event, StreamEnd, StreamError, StreamStart, TextDelta, Usage
from headwater.observe import Try
from headwater.providers.base import Finish, Outcome, Receiver, Source, Spawn
from headwater.providers.objects import Objects
from headwater.providers.text import Surrogates

log = logging.getLogger("headwater.providers")

#: A string, an event of ours, or an object that `objects` knows.
Item = Any
#: Some SDKs give a context manager, whose value is what yields.
Items = (
    AsyncIterable[Item]
    | Iterable[Item]
    | AbstractAsyncContextManager[AsyncIterable[Item]]
    | AbstractContextManager[Iterable[Item]]
)


def iterator_source(items: Items, spawn: Spawn | None = None) -> Source:
    """A source of what `items` yields: an async iterator in a task, a sync one by `spawn`.

    `spawn` starts a thread unless the host has something else. A context manager is entered where
    it is iterated, and left at the end or when nobody wants the rest. What the iterator raises ends
    the stream in error; the text of it goes to the log only, since it may hold anything.
    """
    if isinstance(items, AsyncIterable):
        return AsyncSource(items)
    if isinstance(items, AbstractAsyncContextManager):
        return AsyncSource(_within(items))
    if not isinstance(items, Iterable):
        items = _within_sync(items)
    return SyncSource(items, spawn or _in_thread)


def is_items(x: object) -> TypeGuard[Items]:
    """Whether `x` may be someone's generator: what a client's JSON holds instead of text is not."""
    kinds = (AsyncIterable, Iterable, AbstractAsyncContextManager, AbstractContextManager)
    return isinstance(x, kinds) and not isinstance(x, Mapping)


class AsyncSource:
    """Iterates in a task."""

    attempts = 1
    tries: Sequence[Try] = ()
    route: str | None = None
    connected_at: float | None = None

    def __init__(self, items: AsyncIterable[Item]) -> None:
        self._items = items
        self._converter = Converter()
        self._task: asyncio.Task[None] | None = None

    @property
    def usage(self) -> Usage | None:
        return self._converter.usage

    def start(self, receiver: Receiver) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(receiver))

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:  # never begun: it may hold an SDK's open request
            self._task = asyncio.get_running_loop().create_task(_close(self._items))

    async def _run(self, receiver: Receiver) -> None:
        items: AsyncIterator[Item] | None = None
        converter = self._converter
        try:
            items = aiter(self._items)
            async for item in items:
                events = converter.events(item)
                if events:
                    receiver.events(events)
        except asyncio.CancelledError as error:
            # Ours, or the loop's end; else of a task or a time-out within the generator.
            if self._task is None or self._task.cancelling():
                raise
            receiver.end(_failure(error))
        except (Exception, SystemExit) as error:
            receiver.end(_failure(error))
        else:
            _finish(receiver, converter)
        finally:
            await _close(*_held_open(items, self._items))


class SyncSource:
    """Iterates in a thread of its own, or a greenlet: a generator stays where it was begun.

    In the context that the source is made in, as `asyncio.to_thread` does: there is Flask's
    request, and a trace's span.
    """

    attempts = 1
    tries: Sequence[Try] = ()
    route: str | None = None
    connected_at: float | None = None

    def __init__(self, items: Iterable[Item], spawn: Spawn) -> None:
        self._items = items
        self._spawn = spawn
        self._context = copy_context()
        self._converter = Converter()
        self._begun = False
        self._cancelled = False

    @property
    def usage(self) -> Usage | None:
        return self._converter.usage

    def start(self, receiver: Receiver) -> None:
        loop = asyncio.get_running_loop()
        self._begun = True
        self._spawn(lambda: self._context.run(self._run, receiver, loop))

    def cancel(self) -> None:
        close = getattr(self._items, "close", None)
        if not (self._begun or self._cancelled or close is None):
            self._spawn(close)  # never begun: it may hold an SDK's open request
        self._cancelled = True  # seen at the next item: a thread cannot be interrupted

    def _run(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        converter = self._converter
        items: Iterator[Item] | None = None

        def push(call: Callable[..., None], *arguments: object) -> None:
            try:
                loop.call_soon_threadsafe(call, *arguments)
            except RuntimeError:  # the loop is closed: nobody listens any more
                self._cancelled = True

        try:
            items = iter(self._items)
            for item in items:
                if self._cancelled:
                    break
                events = converter.events(item)
                if events:
                    push(receiver.events, events)
        except BaseException as error:  # the thread is ours: nobody else would hear of it
            push(receiver.end, _failure(error))
        else:
            push(_finish, receiver, converter)
        finally:
            for one in _held_open(items, self._items):
                close = getattr(one, "close", None)
                if close is not None:
                    close()


class Converter:
    """What a generator yields, as events."""

    def __init__(self) -> None:
        self._surrogates = Surrogates()
        self._objects: Objects | None = None

    @property
    def usage(self) -> Usage | None:
        """What was counted in the responses that are over."""
        return self._objects.usage if self._objects is not None else None

    def events(self, item: Item) -> Sequence[Event]:
        """The events of an item; none for one that holds no text yet. `TypeError` for another."""
        if isinstance(item, str):
            text = self._surrogates.clean("text", item) if item else ""
            return (TextDelta(text),) if text else ()
        if isinstance(item, (StreamStart, StreamEnd, StreamError)):
            raise TypeError("a generator does not make the first or the terminal event")
        if isinstance(item, Event):
            return (item,)
        self._objects = self._objects or Objects()
        events = self._objects.events(item)
        if events is None:
            raise TypeError(
                "a generator yields strings, events, or the chunks of an SDK or agent that is "
                f"known, not {type(item).__name__}"
            )
        return events

    def end(self) -> tuple[Outcome, Sequence[Event]]:
        """How it ended, and what was held until then."""
        events = self._surrogates.rest()
        objects = self._objects
        if objects is None:
            return Finish("stop"), events
        try:
            events += objects.finish()
        except HeadwaterError as error:
            return error, events
        return Finish(objects.reason or "stop", objects.usage), events


async def _within(
    manager: AbstractAsyncContextManager[AsyncIterable[Item]],
) -> AsyncGenerator[Item, None]:
    async with manager as items:
        async for item in items:
            yield item


def _within_sync(
    manager: AbstractContextManager[Iterable[Item]],
) -> Generator[Item, None, None]:
    with manager as items:
        yield from items


def _in_thread(run: Callable[[], None]) -> None:
    threading.Thread(target=run, name="headwater-generator", daemon=True).start()


def _finish(receiver: Receiver, converter: Converter) -> None:
    receiver.end(*converter.end())


def _failure(error: BaseException) -> Outcome:
    if isinstance(error, HeadwaterError):
        return error
    log.error("the generator of a stream failed", exc_info=error)
    return HeadwaterError("internal", "The generator of this stream failed.")


def _held_open(iterator: object, items: object) -> tuple[object, ...]:
    """What is to be closed: an SDK's stream keeps its connection when its iterator is closed."""
    return (items,) if iterator is items else (iterator, items)


async def _close(*those: object) -> None:
    for one in those:
        # A generator's; else that of OpenAI's and Anthropic's `AsyncStream`.
        close = getattr(one, "aclose", None) or getattr(one, "close", None)
        if close is not None and isawaitable(closing := close()):
            await closing
