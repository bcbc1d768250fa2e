"""A stream that this process writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

from headwater.errors import HeadwaterError
from headwater.stores.base import Note, Record, Store
from headwater.streams.ending import EndCallback
from headwater.streams.feed import Batch
from headwater.streams.live import LiveStream
from headwater.streams.producer import Producer
from headwater.timers import Timer
from headwater.wires.base import OnDisconnect

#: When the readers of another process expire. It sends every two seconds that it has some.
PRESENCE_S: Final = 7.0


class LocalStream(LiveStream):
    """One generation and who reads it, here and in other processes.

    A stream without readers is stopped at once, after a grace, or never, as `on_disconnect` says.
    """

    producer: Producer

    def __init__(
        self,
        record: Record,
        on_disconnect: OnDisconnect,
        store: Store,
        forget: Callable[[LocalStream], None],
        on_end: EndCallback | None = None,
    ) -> None:
        super().__init__(record, store)
        self._on_disconnect = on_disconnect
        self._forget = forget
        self.on_end = on_end
        #: Called once, when the stream no longer runs here.
        self.on_over: Callable[[], None] | None = None
        self._grace: Timer | None = None
        # Processes with readers, and when each of them expires.
        self._elsewhere: dict[str, float] = {}

    @property
    def failure(self) -> HeadwaterError | None:
        return self.producer.failure

    def note(self, note: Note, sender: str) -> None:
        """What another process says."""
        if note == "stop":
            self.producer.stop()
        elif note == "revoke":
            self.producer.stop("revoked")
        elif note == "here":
            known = sender in self._elsewhere
            self._elsewhere[sender] = asyncio.get_running_loop().time() + PRESENCE_S
            if not known:
                if len(self._elsewhere) == 1:
                    self.feed.watch(self._wake)
                self._store.send(sender, "wake", self.id)  # for what was written in between
                self._readers_changed()
        elif note == "left" and self._elsewhere.pop(sender, None) is not None:
            self._readers_changed()

    def stop(self) -> None:
        self.producer.stop()

    def silent(self, now: float, held_s: float) -> Sequence[str]:
        """Processes with readers of which nothing was heard for too long.

        `held_s` is for how long nothing could be heard, since the loop here was held up.
        """
        if held_s:
            self._elsewhere = {node: at + held_s for node, at in self._elsewhere.items()}
        return [node for node, until in self._elsewhere.items() if until <= now]

    def expire(self, nodes: Sequence[str], stalled: Collection[str]) -> None:
        """Drop the readers of silent processes, but for those whose own loop is held up."""
        for node in nodes:
            if node not in stalled:
                self.note("left", node)

    def await_readers(self) -> None:
        """Its process is a new one: until its readers can have come, do as if there were some."""
        policy = self._on_disconnect
        if policy != "continue":
            grace = PRESENCE_S if policy == "cancel" else max(float(policy), PRESENCE_S)
            self._grace = Timer(grace, self._readers_changed)

    def _wake(self, _: Batch) -> None:
        for node in self._elsewhere:
            self._store.send(node, "wake", self.id)

    def _readers_changed(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        if self.feed.readers or self._elsewhere or self._on_disconnect == "continue":
            return
        if self._on_disconnect == "cancel":
            self._unread()
        else:
            self._grace = Timer(float(self._on_disconnect), self._unread)

    def _unread(self) -> None:
        self.producer.stop("unread")

    def _ended(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
        self._forget(self)
        on_over, self.on_over = self.on_over, None  # it may know this stream: a reference cycle
        if on_over is not None:
            on_over()
