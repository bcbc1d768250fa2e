"""One prompt asked many times, of this process or of a server, streamed or whole."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, closing
from typing import Protocol

import msgspec

from headwater.cli.asking import Listener, question, remote


class Whole(msgspec.Struct, frozen=True):
    """An answer in one piece; `tokens` is None where the provider did not count."""

    model: str
    text: str
    tokens: int | None


class Asker(Protocol):
    """Whoever is asked. `HeadwaterError` where it refuses, fails, or is not reached."""

    def streamed(self, prompt: str, model: str | None, heard: Listener) -> None:
        """Ask, and return after the terminal event."""

    def whole(self, prompt: str, model: str | None) -> Whole:
        """Ask with `stream: false`."""

    def close(self) -> None:
        """Give back what is held."""


class LocalClient:
    """Our own process, which keeps its connections and the embedded model from run to run."""

    def __init__(self) -> None:
        from headwater.api import Headwater

        # The log repeats what the rows say, for those who run a server.
        logging.getLogger("headwater").addHandler(logging.NullHandler())
        self._headwater = Headwater()
        self._runner = asyncio.Runner()
        self._runner.run(self._open())

    def streamed(self, prompt: str, model: str | None, heard: Listener) -> None:
        self._runner.run(self._streamed(prompt, model, heard))

    def whole(self, prompt: str, model: str | None) -> Whole:
        return self._runner.run(self._whole(prompt, model))

    def close(self) -> None:
        self._runner.run(self._headwater.aclose())
        self._runner.close()

    async def _open(self) -> None:
        self._headwater.runtime()

    async def _streamed(self, prompt: str, model: str | None, heard: Listener) -> None:
        from headwater.requests.pipeline import begin

        asked = question(prompt, model)
        runtime = self._headwater.runtime()
        stream = await begin(runtime, asked)
        async with aclosing(stream.reads()) as reads:
            async for events in reads:
                heard(events)

    async def _whole(self, prompt: str, model: str | None) -> Whole:
        from headwater.requests.pipeline import begin

        asked = question(prompt, model, stream=False)
        runtime = self._headwater.runtime()
        stream = await begin(runtime, asked)
        with stream.held():
            await stream.ended()
            if stream.failure is not None:
                raise stream.failure
            state = await runtime.hub.snapshot(stream.record)
        tokens = None if state.usage is None else state.usage.output_tokens
        return Whole(state.model, state.text, tokens)


class ServerClient:
    """The server at a URL."""

    def __init__(self, server: str) -> None:
        self._remote = remote(server)

    def streamed(self, prompt: str, model: str | None, heard: Listener) -> None:
        with closing(self._remote.ask(prompt, model)) as reads:
            for events in reads:
                heard(events)

    def whole(self, prompt: str, model: str | None) -> Whole:
        state = self._remote.whole(prompt, model)
        usage = state.get("usage") or {}
        return Whole(str(state["model"]), str(state["text"]), usage.get("output_tokens"))

    def close(self) -> None:
        """Each request had a connection of its own."""
