"""Who goes on with a stream whose upstream, or whose process, broke off, and with which streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from headwater.errors import HeadwaterError
from headwater.events import ReasoningDelta, StreamRepair, TextDelta, Usage
from headwater.events.position import Position
from headwater.events.snapshot import Snapshot
from headwater.generation import PartialText
from headwater.observe import Try
from headwater.providers.base import Receiver, Source
from headwater.stores.base import Record, Store, Tail
from headwater.streams.live import fold_log
from headwater.wires.base import OnDisconnect

log = logging.getLogger("headwater.streams")

#: How often a stream goes on. Each time a provider reads, and bills, all of the answer again, and
#: the reader meets another seam: an answer that broke off three times will not hold.
MAX_REPAIRS: Final = 2

# Appends that are under way take a millisecond or two.
_LOOK_S: Final = 0.01


class Recovery(Protocol):
    """Finds sources that continue one request's answer; `headwater.routing.recovery` is one."""

    #: The route's first choice.
    asked: str

    @property
    def continues(self) -> bool:
        """Whether any candidate can continue a partial text."""

    def plan(self, on_disconnect: OnDisconnect) -> bytes | None:
        """The stored form of the request for another process; None where it could not continue."""

    def ended(self, route: str | None, error: HeadwaterError | None) -> None:
        """Report the end of an answer of `route`, or of the first choice, after its first token."""

    def mends(self, error: HeadwaterError) -> bool:
        """Whether another attempt may succeed after this error."""

    def source(self, said: PartialText) -> Source:
        """A source that continues from there, not begun; `HeadwaterError` when there is none."""


def said_of(snapshot: Snapshot) -> PartialText | None:
    """What was said so far; None where nobody can go on from there.

    That is: text, or reasoning and then text. Inside a tool call, a refusal or a thought there is
    no text to give; a response of which nothing was said begins anew.
    """
    pieces = 0
    for event in snapshot.events:
        if isinstance(event, StreamRepair):
            continue
        if not isinstance(event, TextDelta | ReasoningDelta):
            return None
        pieces += 1
    if snapshot.reasoning and not snapshot.text:
        return None
    return PartialText(snapshot.text, snapshot.reasoning, pieces + snapshot.merged)


#: Who goes on with a stream, and what it does without readers, by its record and its plan.
Recover = Callable[[Record, bytes], Awaitable[tuple[Recovery, OnDisconnect]]]


async def resumption(
    store: Store, record: Record, tail: Tail, recover: Recover
) -> tuple[Recovery, OnDisconnect, Source, Snapshot] | None:
    """All that going on with the stream of a dead process takes; None where nobody can."""
    plan = await store.plan(record.stream)
    # A request that kills whoever serves it must not go round for ever.
    if plan is None or tail.last.epoch > 1 + MAX_REPAIRS:
        return None
    snapshot = await fold_log(store, record.stream)
    said = said_of(snapshot)
    if said is None or len(snapshot.repairs) >= MAX_REPAIRS:
        return None
    try:
        recovery, on_disconnect = await recover(record, plan)
        return recovery, on_disconnect, recovery.source(said), snapshot
    except HeadwaterError as error:
        log.warning("stream %s cannot go on: %s", record.stream, error.code)
        return None


class NullSource:
    """The source of a stream between one attempt and the next."""

    attempts = 0
    tries: Sequence[Try] = ()
    route: str | None = None
    connected_at: float | None = None
    usage: Usage | None = None

    def start(self, receiver: Receiver) -> None:
        """Nothing will come."""

    def cancel(self) -> None:
        """There is nothing to free."""


class Repair:
    """One repair under way: reads what was logged, and makes the source that goes on from there.

    `done` is called with it, or with None when there is none. What was logged ends at `position`.
    """

    def __init__(
        self,
        recovery: Recovery,
        store: Store,
        stream: str,
        position: Position,
        done: Callable[[Source | None], None],
    ) -> None:
        self._recovery = recovery
        self._store = store
        self._stream = stream
        self._position = position
        self._done: Callable[[Source | None], None] | None = done
        self._task = asyncio.get_running_loop().create_task(self._run())

    def cancel(self) -> None:
        """Nothing is to be repaired any more."""
        self._done = None
        self._task.cancel()

    async def _run(self) -> None:
        try:
            source = await self._source()
        except HeadwaterError:  # what failed first is what readers are told
            source = None
        except Exception:
            log.exception("stream %s cannot be repaired", self._stream)
            source = None
        done, self._done = self._done, None
        if done is not None:
            done(source)

    async def _source(self) -> Source | None:
        while True:
            tail = await self._store.tail(self._stream)
            if tail is None:
                return None
            if tail.last >= self._position:
                break
            await asyncio.sleep(_LOOK_S)
        snapshot = await fold_log(self._store, self._stream)
        said = said_of(snapshot)
        return None if said is None else self._recovery.source(said)
