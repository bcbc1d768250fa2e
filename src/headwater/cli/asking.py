"""A prompt asked, in this process or of a server; what comes is handed on as it comes."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING

import click

from headwater import events as ev
from headwater.cli.terminal import say_json
from headwater.errors import error_told
from headwater.generation import GenerationRequest

if TYPE_CHECKING:
    from headwater.api import Headwater
    from headwater.cli.remote import Reads, RemoteServer
    from headwater.requests.parsing import StreamRequest
    from headwater.streams import LocalStream

#: Told what each read brought, in order, the terminal event last.
Listener = Callable[[Sequence[ev.Event]], None]


def prompt_of(words: tuple[str, ...], example: str) -> str:
    """Join the words of a command line, or read what is piped in; a usage error for nothing."""
    piped = not words and not sys.stdin.isatty()
    text = sys.stdin.read() if piped else " ".join(words)
    if not text.strip():
        raise click.UsageError(f"Nothing to ask. Try: {example}")
    return text


def ask(prompt: str, model: str | None, server: str | None, heard: Listener) -> None:
    """Ask `server`, or without one do the work here; returns after the terminal event.

    Ctrl-C stops the stream. `HeadwaterError` when it cannot begin, or the server is lost.
    """
    if server is not None:
        return _listen(remote(server).ask(prompt, model), heard)

    from headwater.api import Headwater
    from headwater.requests.pipeline import begin

    headwater = Headwater()
    return in_process(headwater, lambda: begin(headwater.runtime(), question(prompt, model)), heard)


def question(prompt: str, model: str | None, *, stream: bool = True) -> StreamRequest:
    """The request of one prompt; a stream that this process stops reading is cancelled."""
    from headwater import wires
    from headwater.requests.parsing import StreamRequest

    message = {"role": "user", "content": prompt}
    return StreamRequest(
        what=GenerationRequest(messages=[message], model=model, stream=stream),
        format=wires.get("native").format(),
        on_disconnect="cancel",
        asked_at=time.monotonic(),
    )


def follow(server: str, stream: str, heard: Listener, after: str = "") -> None:
    """Read a stream of `server` to its end; Ctrl-C leaves it running.

    From its start, or from behind the position `after`.
    """
    _listen(remote(server).follow(stream, after), heard)


def print_events(play: Callable[[Listener], None]) -> None:
    """Print what `play` tells its listener, a line of JSON each; `HeadwaterError` for a failure."""
    last: list[ev.Event] = []

    def heard(events: Sequence[ev.Event]) -> None:
        for event in events:
            say_json(ev.encode(event))
        last[:] = events[-1:]

    play(heard)
    for end in last:
        if isinstance(end, ev.StreamError):
            raise error_told(end.code, end.message, retryable=end.retryable)


def in_process(
    headwater: Headwater, begin: Callable[[], Awaitable[LocalStream]], heard: Listener
) -> None:
    """Read the stream that `begin` makes, which ends when it is left."""
    # The log repeats what the error line says, for those who run a server.
    logging.getLogger("headwater").addHandler(logging.NullHandler())

    async def run() -> None:
        try:
            stream = await begin()
            # Ctrl-C cancels this task, and leaving the loop stops the upstream.
            async with aclosing(stream.reads()) as reads:
                async for events in reads:
                    heard(events)
        finally:
            await headwater.aclose()

    asyncio.run(run())


def remote(server: str) -> RemoteServer:
    """The server at this URL, with the key in HEADWATER_API_KEY; a usage error for no URL."""
    from headwater.cli.remote import RemoteServer

    return RemoteServer(server, os.environ.get("HEADWATER_API_KEY"))


def _listen(reads: Reads, heard: Listener) -> None:
    with closing(reads):
        for events in reads:
            heard(events)
