"""What synchronous hosts do with a stream, whatever their request and response are.

Each blocks its thread or greenlet until the loop beside it has answered. What is opened is held, as
by a reader, until the exit stack that comes with it is closed in the loop.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple, Protocol

import msgspec
from msgspec import structs

from headwater.adapters.bridge import Bridge
from headwater.adapters.heads import JSON_HEADERS, make_request_id
from headwater.errors import ConfigurationError
from headwater.events.position import START
from headwater.requests.options import ResponseOptions, check_options, check_principal
from headwater.requests.parsing import Question, parse
from headwater.requests.pipeline import open_stream
from headwater.requests.reading import Reading, find
from headwater.requests.runtime import Runtime


class Library(Protocol):
    """`headwater.Headwater`, as its adapters see it."""

    principal: Callable[[Any], Any] | None

    def runtime(self) -> Runtime:
        """What serves the running event loop."""

    def bridge(self) -> Bridge:
        """The loop beside a synchronous host."""


class Held(NamedTuple):
    """A reading, and what keeps its stream from being one that nobody reads."""

    reading: Reading
    hold: ExitStack


def beginning(
    hw: Library, call: str, question: Question, options: ResponseOptions, **head: str | None
) -> Callable[[], Coroutine[Any, Any, Held]]:
    """Makes the coroutine that begins the answer, and waits for what its head waits for.

    To be run in the bridge's loop. `head` is `path`, `key` and `after` of the request, as in
    `StreamRequest`. `HeadwaterError` or `TypeError` at once where `call` was called wrongly.
    """
    check_options(call, options, ResponseOptions)
    request = parse(question, options, spawn=hw.bridge().host.spawner())
    request = structs.replace(request, **head)

    async def begin() -> Held:
        reading = await open_stream(hw.runtime(), request)
        with ExitStack() as hold:
            # Until the body is closed, so that none of the stages before it is without a reader.
            hold.enter_context(reading.opened.held())
            if reading.whole:
                whole = await reading.opened.whole(reading.format)
                return Held(structs.replace(reading, state=whole), ExitStack())
            if reading.after == START:
                await reading.opened.before_head(reading.format.wire)
            return Held(reading, hold.pop_all())

    return begin


def settled(held: Held) -> tuple[bytes, int, dict[str, str]] | None:
    """Body, status and headers of an answer that is no stream; None where there is one to send."""
    named = answer_headers(held)
    if held.reading.state is not None:
        return msgspec.json.encode(held.reading.state), 200, JSON_HEADERS | named
    return (b"", 204, named) if held.reading.finished else None


def answer_headers(held: Held) -> dict[str, str]:
    """What names the stream, and the request that is answered with it."""
    stream = held.reading.opened.record.stream
    return {"Headwater-Stream": stream, "X-Request-Id": make_request_id()}


def looked_at(
    hw: Library,
    stream: str,
    principal: str | None,
    *,
    headers: Mapping[str, str],
    query: Mapping[str, str],
) -> Held:
    """The reading that a request for this stream asks for; blocks."""

    async def look() -> Held:
        reading = await find(hw.runtime(), stream, principal, headers=headers, query=query)
        hold = ExitStack()
        if reading.state is None and not reading.finished:
            hold.enter_context(reading.opened.held())
        return Held(reading, hold)

    return hw.bridge().call(look)


def stopped(hw: Library, stream: str, principal: str | None) -> None:
    """Stop the stream; blocks."""

    async def stop() -> None:
        await hw.runtime().hub.stop(stream, principal)

    hw.bridge().call(stop)


def principal_of(hw: Library, request: Any) -> str | None:
    """Whose request it is."""
    principal = hw.principal(request) if hw.principal is not None else None
    if inspect.iscoroutine(principal):
        principal.close()
        raise ConfigurationError("under a synchronous host principal= must be a plain function")
    check_principal(principal)
    return principal
