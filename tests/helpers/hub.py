"""A hub without a network: sources that a test drives, sinks that a test fills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from headwater.events import Event, Usage
from headwater.events.position import START, Position
from headwater.observe import Try
from headwater.providers.base import Finish, Outcome, Receiver
from headwater.settings import Settings
from headwater.stores.memory import MemoryStore
from headwater.streams import Hub, LocalStream
from headwater.streams.generation import Generation, StreamOptions
from headwater.wires.base import OnDisconnect, Wire
from tests.helpers.polling import eventually_async


class ScriptedSource:
    """A source that says what the test makes it say."""

    attempts = 1
    tries: Sequence[Try] = ()
    route: str | None = None
    connected_at: float | None = None
    usage: Usage | None = None

    def __init__(self) -> None:
        self.receiver: Receiver | None = None
        self.cancelled = False

    def start(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def hand_over(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def cancel(self) -> None:
        self.cancelled = True

    def say(self, *events: Event) -> None:
        """What one read brought."""
        assert self.receiver is not None
        self.receiver.events(events)

    def end(self, outcome: Outcome | None = None) -> None:
        assert self.receiver is not None
        self.receiver.end(outcome or Finish("stop", Usage(3, 5)))


class BucketSink:
    """Keeps what it is given; holds `room` writes, then says it is full until `empty`."""

    on_ready: Callable[[], None] | None = None

    def __init__(self, room: int = 1 << 30) -> None:
        self.data = b""
        self.room = room
        self.closed = False
        self.aborted = False
        self.stuck: int | None = None

    def write(self, data: bytes) -> bool:
        assert not self.closed
        self.data += data
        self.room -= 1
        return self.room > 0

    def close(self, data: bytes = b"") -> None:
        self.data += data
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def taken(self) -> int | None:
        """Everything is taken at once; `stuck` is what a test says of a connection that is not."""
        return self.stuck

    def empty(self, room: int) -> None:
        """There is room again."""
        self.room = room
        if self.on_ready is not None:
            self.on_ready()


def make_hub(settings: Settings | None = None) -> Hub:
    settings = settings or Settings()
    return Hub(settings, MemoryStore())


async def begin(
    hub: Hub, *, on_disconnect: OnDisconnect = "continue", principal: str | None = "me"
) -> tuple[LocalStream, ScriptedSource]:
    source = ScriptedSource()
    stream = await hub.start(
        Generation(source, "m"), StreamOptions(principal=principal, on_disconnect=on_disconnect)
    )
    return stream, source


async def read_all(hub: Hub, stream: str, wire: Wire[Any], after: Position = START) -> bytes:
    """The whole response from behind `after`, of a stream that has ended."""
    sink = BucketSink()
    hub.read(stream, wire.format(), sink, after=after)
    await eventually_async(lambda: sink.closed or sink.aborted)
    assert sink.closed
    return sink.data


def positions(data: bytes) -> Sequence[Position]:
    """The ids of a response, in order."""
    return [
        Position.parse(line[4:].decode()) for line in data.split(b"\n") if line.startswith(b"id: ")
    ]


def after(data: bytes, position: Position) -> bytes:
    """What the uncut response `data` has behind the frame with the id `position`."""
    mark = f"id: {position}\n".encode()
    start = data.index(mark)
    return data[data.index(b"\n\n", start) + 2 :]
