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

from headwater.adapters.bridge import Bridge
from headwater.adapters.heads import JSON_HEADERS, make_request_id
from headwater.errors import ConfigurationError
from headwater.requests.library import Question, Wish, asked_for, begin_asked
from headwater.requests.mistakes import check_principal
from headwater.requests.reading import Reading, find
from headwater.requests.runtime import Runtime
from headwater.wires.base import Wire


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
    hw: Library, x: Question, wire: Wire, model: str | None, options: dict[str, Any], wish: Wish
) -> Callable[[], Coroutine[Any, Any, Held]]:
    """Makes the coroutine that begins the answer to `x`, and waits for what its head waits for.

    To be run in the bridge's loop. `HeadwaterError` at once where `x` is no question.
    """
    bridge = hw.bridge()
    spawn = bridge.host.spawner()
    asked = asked_for(x, model, options, wire=wire, principal=wish.principal, spawn=spawn)

    async def begin() -> Held:
        opened = await begin_asked(hw.runtime(), asked, wire, wish, spawn)
        with ExitStack() as hold:
            # Until the body is closed, so that none of the stages before it is without a reader.
            hold.enter_context(opened.held())
            if asked.whole:
                whole = await opened.whole(wire, asked.options)
                return Held(Reading(opened, wire, state=whole), ExitStack())
            await opened.before_head(wire)
            return Held(Reading(opened, wire, asked.options), hold.pop_all())

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
