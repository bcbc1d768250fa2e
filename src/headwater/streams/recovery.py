"""Who goes on with a stream whose upstream, or whose process, broke off, and with which streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from headwater.errors import HeadwaterError, RequestError
from headwater.events import ReasoningDelta, StreamRepair, TextDelta, Usage
from headwater.generation import GenerationRequest, PartialText
from headwater.observe import Try
from headwater.position import Position
from headwater.providers.base import Receiver, Source
from headwater.snapshot import Snapshot
from headwater.stores.base import Record, Store, Tail
from headwater.streams.live import fold_log
from headwater.streams.router import Router
from headwater.streams.routing import Candidate
from headwater.wires.base import OnDisconnect

log = logging.getLogger("headwater.streams")

#: How often a stream goes on. Each time a provider reads, and bills, all of the answer again, and
#: the reader meets another seam: an answer that broke off three times will not hold.
MAX_REPAIRS: Final = 2

# What may pass, of an upstream. A filter, a refusal and our own faults do not.
_MAY_PASS: Final = frozenset(
    {"truncated", "upstream_error", "upstream_timeout", "rate_limited", "overloaded"}
)
# Ask for an answer that a grammar holds to a form: the grammar would begin anew inside of it.
_FORMS: Final = ("grammar", "guided_", "json_schema", "response_format", "structured_outputs")
# Appends that are under way take a millisecond or two.
_LOOK_S: Final = 0.01

_encoder = msgspec.json.Encoder()


class RecoveryPlan(msgspec.Struct, frozen=True):
    """What another process needs to go on with a stream."""

    request: GenerationRequest
    on_disconnect: OnDisconnect


#: The form in which a plan is stored back to a plan; `msgspec.DecodeError` when it is not one.
read_plan = msgspec.json.Decoder(RecoveryPlan).decode


class Recovery:
    """What failures after the first token lead to, for one request.

    `asked` is the route's first choice; `candidates` gives, for what was said, those that can go on
    from there: None where no entry of the route `continues`. `wrap` is put around each of them.
    """

    __slots__ = ("_candidates", "_name", "_request", "_router", "_wrap", "asked")

    def __init__(
        self,
        router: Router,
        name: str,
        asked: str,
        request: GenerationRequest,
        candidates: Callable[[PartialText], Sequence[Candidate]] | None,
        wrap: Callable[[Source], Source] | None = None,
    ) -> None:
        self._router = router
        self._wrap = wrap
        self._name = name
        self.asked = asked
        goes_on = candidates is not None and _can_go_on(request)
        self._candidates = candidates if goes_on else None
        # The stream may be long: what nobody will ask again is not kept.
        self._request = request if goes_on else None

    @property
    def continues(self) -> bool:
        return self._candidates is not None

    def plan(self, on_disconnect: OnDisconnect) -> bytes | None:
        """What another process needs to do the same; None where it could not."""
        if self._request is None or self._wrap is not None:  # which is code of this process
            return None
        try:
            return _encoder.encode(RecoveryPlan(self._request, on_disconnect))
        except UnicodeEncodeError:  # half a character, which JSON can spell and UTF-8 cannot
            return None

    def ended(self, route: str | None, error: HeadwaterError | None) -> None:
        """An answer of `route`, or of the first choice, has ended after its first token."""
        self._router.ended(route or self.asked, error)

    def mends(self, error: HeadwaterError) -> bool:
        """Whether another attempt may do better."""
        return self.continues and error.retryable and error.code in _MAY_PASS

    def source(self, said: PartialText) -> Source:
        """Whoever goes on from there, not begun; `HeadwaterError` when nobody can."""
        if self._candidates is None:
            raise RequestError("No provider of this route can go on from a given text.")
        source = self._router.source(self._candidates(said), self._name, asked=self.asked)
        return source if self._wrap is None else self._wrap(source)


def _can_go_on(request: GenerationRequest) -> bool:
    for name, value in request.options.items():
        if name.startswith(_FORMS) and value not in (None, {"type": "text"}):
            return False
    # Whether the answer was the rest of such a message or a new one, nobody can tell.
    return not request.messages or request.messages[-1].get("role") != "assistant"


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
