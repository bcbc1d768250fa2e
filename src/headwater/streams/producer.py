"""Provider to store: one generation, written down as it comes.

What a read brought is encoded once, appended, and then handed to the feed: what was not stored is
never delivered. The producer owns the terminal event: there is exactly one, and it is the last.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from msgspec import UNSET

from headwater.errors import HeadwaterError, StorageError, UpstreamError
from headwater.events import (
    Event,
    FinishReason,
    StreamEnd,
    StreamError,
    StreamRepair,
    StreamStart,
    Timing,
    Tried,
    Usage,
    added,
)
from headwater.events.position import Position
from headwater.observe import Ended, Try, Watch
from headwater.providers.base import Outcome, Source
from headwater.providers.deadlines import Deadlines
from headwater.settings import TimeoutSettings
from headwater.stores.base import Appended, Store
from headwater.streams.feed import Feed
from headwater.streams.recovery import MAX_REPAIRS, NullSource, Recovery, Repair
from headwater.streams.writing import EMPTY, Writing

log = logging.getLogger("headwater.streams")


class Producer(Writing):
    """Drives one source into one log.

    `timeouts` is None for a source that takes what time it wants. `failure` is the error that ended
    the log, where one did; `left` says that another process is to end it, or has; `unlogged` is the
    terminal event that the log could not take; `usage` what the provider had counted at the end,
    None before. `asked_at` is `time.monotonic()` when the request arrived: all timings count from
    there. `recovery` says who goes on when the source breaks off; `position` is where the log ends,
    and `repairs` how many seams it has.
    """

    __slots__ = (
        "_asked_at",
        "_attempts",
        "_began_at",
        "_broken",
        "_cause",
        "_connected_at",
        "_deadlines",
        "_first_at",
        "_overhead",
        "_recovery",
        "_repair",
        "_repairs",
        "_route",
        "_source",
        "_spent",
        "_time",
        "_timeouts",
        "_tries",
        "_waiting",
        "_watch",
        "failure",
        "left",
        "unlogged",
        "usage",
    )

    def __init__(
        self,
        stream: str,
        source: Source,
        store: Store,
        feed: Feed,
        *,
        timeouts: TimeoutSettings | None,
        max_bytes: int,
        asked_at: float,
        watch: Watch | None = None,
        recovery: Recovery | None = None,
        position: Position = EMPTY,
        repairs: int = 0,
    ) -> None:
        super().__init__(stream, store, feed, position, max_bytes)
        self._time = asyncio.get_running_loop().time
        self._source = source
        self._timeouts = timeouts
        self._asked_at = asked_at
        self._recovery = recovery
        self._repairs = repairs
        self._repair: Repair | None = None  # under way
        self._broken: HeadwaterError | None = None  # what a seam is owed for
        self._waiting = True  # for the first event of an attempt
        # Of the attempts that broke off.
        self._spent: Usage | None = None
        self._attempts = 0
        self._connected_at: float | None = None
        self._route: str | None = None
        self._tries: list[Try] = []
        self._deadlines: Deadlines | None = None
        self._began_at = asked_at
        self._first_at: float | None = None
        self._overhead = 0.0
        self._watch = watch
        self._cause: str | None = None
        self.left = False
        self.failure: HeadwaterError | None = None
        self.unlogged: StreamError | None = None
        self.usage: Usage | None = None

    def start(self, first: StreamStart | None, broken: HeadwaterError | None = None) -> None:
        """Write the first event and ask the upstream.

        `first` is None where the log has it; `broken` what a log ended by that goes on here.
        """
        self._broken = broken
        if first is not None:
            self._append((first,), closes=False)
        if self.ended:  # the log would not even take that
            return
        self._began_at = time.monotonic()
        self._overhead = self._began_at - self._asked_at
        if self._timeouts is not None:
            self._deadlines = Deadlines(self._timeouts, self._late)
        self._ask(self._source)

    def stop(self, cause: str = "asked") -> None:
        """Cancel the upstream at once; the log ends `cancelled`. Nothing when it has ended.

        `cause` is for metrics: `asked`, `unread` when nobody reads any more, or `revoked`.
        """
        if not self.ended:
            self._cause = cause
            self._source.cancel()
            self._close("cancelled", self._usage())

    def interrupt(self, message: str) -> None:
        """End because this process ends."""
        self._fail(UpstreamError("interrupted", message))

    def abandon(self) -> None:
        """Leave the log open, for another process to take over; readers are cut."""
        self.left = True
        self._stop()
        self._source.cancel()
        if self._watch is not None:
            self._watch.abandoned()
            self._watch = None
        self._feed.cut()

    # headwater.providers.base.Receiver

    def events(self, events: Sequence[Event]) -> None:
        if self.ended:
            return
        if self._deadlines is not None:
            self._deadlines.data_at = self._time()
        if not self._waiting:
            self._append(events, closes=False)
            return
        begins = self._first_at is None
        began = time.monotonic()
        self._append(self._begun(events), closes=False)
        if begins:
            self._overhead += time.monotonic() - began

    def alive(self, data: bool) -> None:
        if self._deadlines is not None:
            self._deadlines.alive(data)

    def end(self, outcome: Outcome, events: Sequence[Event] = ()) -> None:
        if self.ended:
            return
        if self._waiting and (events or not isinstance(outcome, HeadwaterError)):
            events = self._begun(events)
        if not isinstance(outcome, HeadwaterError):
            if self._recovery is not None:
                self._recovery.ended(self._source.route, None)
            self._close(outcome.reason, added(self._spent, outcome.usage), events)
        elif not self._mend(outcome, events):
            self._terminate(self._error(self._broken or outcome), events)

    # what breaks off

    def _ask(self, source: Source) -> None:
        self._source = source
        try:
            source.start(self)
        except HeadwaterError as error:
            self.end(error)

    def _begun(self, events: Sequence[Event]) -> Sequence[Event]:
        """The first event of an attempt has come; with the seam, where it goes on."""
        self._waiting = False
        if self._first_at is None and events:
            self._first_at = time.monotonic()
        if self._deadlines is not None:
            self._deadlines.begun()
        broken, self._broken, self._route = self._broken, None, None
        if broken is None or self._recovery is None:
            return events
        self._repairs += 1
        seam = StreamRepair(broken.code, self._source.route or self._recovery.asked)
        return (seam, *events)

    def _late(self, error: HeadwaterError) -> None:
        if self._deadlines is None or self._deadlines.spent or not self._mend(error):
            self._fail(error)

    def _mend(self, error: HeadwaterError, events: Sequence[Event] = ()) -> bool:
        """Let another attempt go on; False when there is to be none."""
        recovery, source = self._recovery, self._source
        if recovery is None or self._waiting:
            return False
        recovery.ended(source.route, error)
        if self._repairs >= MAX_REPAIRS or not recovery.mends(error):
            return False
        source.cancel()
        if events:
            self._append(events, closes=False)
        if self.ended:  # that was too much for the log
            return True
        self._spent, self._connected_at = self._usage(), self._connected()
        self._attempts, self._route = self._attempts + source.attempts, source.route
        self._tries += source.tries
        self._source, self._broken, self._waiting = NullSource(), error, True
        if self._deadlines is not None:
            self._deadlines.anew()
        log.warning("stream %s broke off, and is to go on: %s", self._stream, error.code)
        self._repair = Repair(recovery, self._store, self._stream, self._position, self._go_on)
        return True

    def _go_on(self, source: Source | None) -> None:
        self._repair = None
        if source is not None:
            self._ask(source)
        elif self._broken is not None:
            self._fail(self._broken)

    def _usage(self) -> Usage | None:
        return added(self._spent, self._source.usage)

    def _connected(self) -> float | None:
        return self._connected_at or self._source.connected_at

    # the end

    def _fail(self, error: HeadwaterError) -> None:
        if not self.ended:
            self._source.cancel()
            self._terminate(self._error(error))

    def _error(self, error: HeadwaterError) -> StreamError:
        self.failure = error
        return StreamError(
            error.code, error.message, error.retryable, self._usage(), self._timing()
        )

    def _close(
        self, reason: FinishReason, usage: Usage | None, events: Sequence[Event] = ()
    ) -> None:
        self._terminate(StreamEnd(reason, usage, self._timing()), events)

    def _terminate(self, event: StreamEnd | StreamError, before: Sequence[Event] = ()) -> None:
        self._stop()
        self.usage = event.usage
        self._append((*before, event), closes=True)
        self._tell(event)

    def _tell(self, event: StreamEnd | StreamError) -> None:
        """Whoever watches hears of the end, once; a log that cannot take it has ended otherwise."""
        watch, self._watch = self._watch, None
        if watch is None:
            return
        usage = event.usage
        watch.ended(
            Ended(
                outcome=event.code if isinstance(event, StreamError) else event.reason,
                failed=isinstance(event, StreamError),
                route=self._source.route or self._route,
                cause=self._cause,
                input_tokens=None if usage is None else usage.input_tokens,
                output_tokens=None if usage is None else usage.output_tokens,
                first_token_s=None if self._first_at is None else self._first_at - self._asked_at,
                total_s=time.monotonic() - self._asked_at,
                overhead_s=self._overhead,
                repairs=self._repairs,
                tries=[each for each in (*self._tries, *self._source.tries) if each.asked],
            )
        )

    def _stop(self) -> None:
        """Nothing more is awaited."""
        self.ended = True
        if self._repair is not None:
            self._repair.cancel()
            self._repair = None
        if self._deadlines is not None:
            self._deadlines.stop()
            self._deadlines = None  # it calls us: kept, it would be a circle

    def _timing(self) -> Timing:
        def since(at: float | None) -> float | None:
            return None if at is None else round((at - self._asked_at) * 1000, 2)

        return Timing(
            queue=round((self._began_at - self._asked_at) * 1000, 2),
            connect=since(self._connected()),
            first_token=since(self._first_at),
            total=round((time.monotonic() - self._asked_at) * 1000, 2),
            overhead=round(self._overhead * 1000, 3),
            attempts=self._attempts + self._source.attempts,
            route=self._source.route or self._route or UNSET,
            tried=_failed((*self._tries, *self._source.tries)) or UNSET,
        )

    def _unstored(self, result: Appended) -> None:
        log.error("stream %s: the store answered %s to an append", self._stream, result)
        if result in ("fenced", "closed"):  # another process has it now, and its readers should
            self.abandon()
            return
        self._stop()
        self._source.cancel()
        error = StorageError("storage_failed", "The log cannot be written.")
        self.unlogged = self._error(error)
        self.usage = self.unlogged.usage
        self._feed.fail(self.unlogged)
        self._tell(self.unlogged)


def _failed(tries: Sequence[Try]) -> tuple[Tried, ...]:
    """Who failed before a first token, as readers are told; once where one failed alike again."""
    told: list[Tried] = []
    before: Tried | None = None
    for each in tries:
        if each.outcome == "cancelled":
            continue
        here = None if each.outcome == "answered" else Tried(each.route, each.outcome)
        if here is not None and here != before:
            told.append(here)
        before = here
    return tuple(told)
