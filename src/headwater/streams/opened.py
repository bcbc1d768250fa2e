"""A stream as a host's response needs it, whatever the host."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import msgspec

from headwater.errors import error_told
from headwater.events.position import Position
from headwater.stores.base import Record
from headwater.streams.hub import Hub
from headwater.streams.live import LiveStream
from headwater.streams.subscriber import Sink, Subscriber
from headwater.wires.base import JSON, Wire, WireFormat

# How long a head may wait for the first upstream event: beyond it heartbeats must begin.
_FIRST_S: Final = 15.0


class Opened(msgspec.Struct, frozen=True):
    """A stream that may be read: its hub, its record, and itself while it runs."""

    hub: Hub
    record: Record
    running: LiveStream | None

    def held(self) -> AbstractContextManager[None]:
        """A reader for as long as the response lasts, so that none of its stages is without."""
        return self.running.held() if self.running is not None else nullcontext()

    async def before_head(self, wire: Wire[Any]) -> None:
        """Wait for what a wire's head waits for; `HeadwaterError` when the stream fails before."""
        running = self.running
        if wire.waits_for_first and running is not None:
            await running.begun(_FIRST_S)
            # Nothing but the first event and the terminal one: no reader has been told anything.
            if running.failure is not None and running.feed.position.seq <= 2:
                raise running.failure

    async def whole(self, format: WireFormat) -> JSON:
        """The answer to `stream: false`, when it is whole; `HeadwaterError` when it failed."""
        running = self.running
        while running is not None:
            with running.held():
                await running.ended()
            if running.failure is not None:
                raise running.failure
            if running.over:
                break
            # Another process writes it now.
            running = self.hub.live(*await self.hub.find(self.record.stream, self.record.principal))
        snapshot = await self.hub.snapshot(self.record)
        if snapshot.error is not None:
            error = snapshot.error
            raise error_told(error.code, error.message, retryable=error.retryable)
        return format.whole(snapshot)

    def reader(self, format: WireFormat, after: Position) -> Callable[[Sink], Subscriber]:
        """A function that begins to read into a sink, behind `after`."""

        def attach(sink: Sink) -> Subscriber:
            return self.hub.read(self.record.stream, format, sink, after=after)

        return attach
