"""Continuing a stream whose upstream, or whose process, broke off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from headwater.errors import HeadwaterError
from headwater.events import NotTried, ReasoningDelta, StreamRepair, TextDelta
from headwater.events.position import Position
from headwater.events.snapshot import Snapshot
from headwater.generation import GenerationRequest, PartialText
from headwater.json_text import UNREADABLE
from headwater.providers.base import Source
from headwater.stores.base import Record, Store, Tail
from headwater.streams.live import fold_log
from headwater.wires.base import OnDisconnect

log = logging.getLogger("headwater.streams")

#: How often a stream is continued. Each time a provider reads, and bills, all of the text again,
#: and the reader meets another seam: a stream that broke off three times will not hold.
MAX_REPAIRS: Final = 2

# Appends that are under way take a millisecond or two.
_LOOK_S: Final = 0.01

_encoder = msgspec.json.Encoder()


def not_tried(reason: NotTried) -> str:
    """The `repair` of a stream that was not continued."""
    return f"not_tried: {reason}"


def failed(code: str) -> str:
    """The `repair` of a stream whose continuation failed with the error `code`."""
    return f"failed: {code}"


class RecoveryPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What another process needs to continue a stream, or why it cannot be continued."""

    on_disconnect: OnDisconnect
    request: GenerationRequest | None = None
    not_tried: NotTried | None = None


_read_plan = msgspec.json.Decoder(RecoveryPlan).decode


class Recovery(Protocol):
    """Finds sources that continue one request's text; `headwater.routing.recovery` has one."""

    #: The route's first choice.
    asked: str

    def kept(self) -> GenerationRequest | NotTried:
        """The request, for another process; else why that could not continue the text."""

    def ended(self, route: str | None, error: HeadwaterError | None) -> None:
        """Report the end of an answer of `route`, or of the first choice, after its first token."""

    def refusal(self, error: HeadwaterError) -> NotTried | None:
        """Why no other attempt is made after this error; None where one may succeed."""

    def source(self, said: PartialText) -> Source:
        """A source that continues the text, not begun; `HeadwaterError` when there is none."""


def write_plan(recovery: Recovery | None, on_disconnect: OnDisconnect) -> bytes:
    """The plan of a stream; `recovery` is None for a source of the app's."""
    kept = "generator" if recovery is None else recovery.kept()
    if not isinstance(kept, str):
        try:
            return _encoder.encode(RecoveryPlan(on_disconnect, kept))
        except UnicodeEncodeError:  # half a character, which JSON can spell and UTF-8 cannot
            kept = "request_unavailable"
    return _encoder.encode(RecoveryPlan(on_disconnect, not_tried=kept))


def text_so_far(snapshot: Snapshot) -> PartialText | NotTried:
    """The text to continue from: text, or reasoning and then text.

    Inside a tool call, a refusal or a thought there is no text to give. A stream of which nothing
    was delivered starts over.
    """
    pieces = 0
    for event in snapshot.events:
        if isinstance(event, StreamRepair):
            continue
        if not isinstance(event, TextDelta | ReasoningDelta):
            return "not_text"
        pieces += 1
    if snapshot.reasoning and not snapshot.text:
        return "reasoning_only"
    return PartialText(snapshot.text, snapshot.reasoning, pieces + snapshot.merged)


#: The recovery of another process's stream, by its record and the request that it kept.
Recover = Callable[[Record, GenerationRequest], Awaitable[Recovery]]


class Resumption(msgspec.Struct, frozen=True):
    """All that continuing the stream of another process takes; `source` has not begun."""

    recovery: Recovery
    on_disconnect: OnDisconnect
    source: Source
    snapshot: Snapshot


async def resumption(
    store: Store, record: Record, tail: Tail, recover: Recover
) -> Resumption | str:
    """How to continue a stream that was taken over, else the stream's `repair`."""
    # A request that kills the processes that serve it must not go round for ever.
    if tail.last.epoch > 1 + MAX_REPAIRS:
        return not_tried("repaired_twice")
    data = await store.plan(record.stream)
    try:
        plan = None if data is None else _read_plan(data)
    except UNREADABLE:  # of another version
        plan = None
    if plan is None or (plan.request is None and plan.not_tried is None):
        return not_tried("request_unavailable")
    if plan.request is None:
        return not_tried(plan.not_tried or "request_unavailable")
    snapshot = await fold_log(store, record.stream)
    if len(snapshot.repairs) >= MAX_REPAIRS:
        return not_tried("repaired_twice")
    said = text_so_far(snapshot)
    if isinstance(said, str):
        return not_tried(said)
    try:
        recovery = await recover(record, plan.request)
        if isinstance(kept := recovery.kept(), str):
            return not_tried(kept)
        source = recovery.source(said)
    except HeadwaterError as error:
        return failed(error.code)
    return Resumption(recovery, plan.on_disconnect, source, snapshot)


class Repair:
    """One repair under way: reads the log, and makes the source that continues it.

    `done` is called once with the source, or with the `repair` of a stream that has none. The log
    ends at `position`.
    """

    def __init__(
        self,
        recovery: Recovery,
        store: Store,
        stream: str,
        position: Position,
        done: Callable[[Source | str], None],
    ) -> None:
        self._recovery = recovery
        self._store = store
        self._stream = stream
        self._position = position
        self._done: Callable[[Source | str], None] | None = done
        self._task = asyncio.get_running_loop().create_task(self._run())

    def cancel(self) -> None:
        """Call `done` no more."""
        self._done = None
        self._task.cancel()

    async def _run(self) -> None:
        source: Source | str
        try:
            source = await self._source()
        except HeadwaterError as error:
            source = failed(error.code)
        except Exception:
            log.exception("stream %s cannot be repaired", self._stream)
            source = failed("internal")
        done, self._done = self._done, None
        if done is not None:
            done(source)

    async def _source(self) -> Source | str:
        while True:
            tail = await self._store.tail(self._stream)
            if tail is None:
                return not_tried("log_unwritable")
            if tail.last >= self._position:
                break
            await asyncio.sleep(_LOOK_S)
        said = text_so_far(await fold_log(self._store, self._stream))
        return not_tried(said) if isinstance(said, str) else self._recovery.source(said)
