"""Provider to store: one generation, written down as it comes.

What a read brought is encoded once, appended, and then handed to the feed: what was not stored is
never delivered. The producer owns the terminal event: there is exactly one, and it is the last.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from msgspec import UNSET

from headwater.errors import HeadwaterError, StorageError, UpstreamError
from headwater.events import (
    Event,
    FinishReason,
    StreamEnd,
    StreamError,
    StreamStart,
    Timing,
    Usage,
    encode,
)
from headwater.observe import Ended, Watch
from headwater.position import START, Position
from headwater.providers.base import Outcome, Source
from headwater.settings import TimeoutSettings
from headwater.stores.base import Appended, Store
from headwater.streams.deadlines import Deadlines
from headwater.streams.feed import Batch, Feed

log = logging.getLogger("headwater.streams")

# What may wait for a store that does not answer. Beyond it the stream ends: memory is bounded.
_MAX_PENDING: Final = 1024 * 1024


class Producer:
    """Drives one source into one log.

    `timeouts` is None for a source that takes what time it wants. `failure` is the error that ended
    the log, where one did; `unlogged` the terminal event that the log could not take; `usage` what
    the provider had counted at the end, None before.
    `asked_at` is `time.monotonic()` when the request arrived: all timings count from there.
    """

    __slots__ = (
        "_asked_at",
        "_began_at",
        "_cause",
        "_deadlines",
        "_feed",
        "_first_at",
        "_overhead",
        "_pending",
        "_pending_bytes",
        "_position",
        "_room",
        "_source",
        "_store",
        "_stream",
        "_time",
        "_timeouts",
        "_watch",
        "ended",
        "failure",
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
    ) -> None:
        self._time = asyncio.get_running_loop().time
        self._stream = stream
        self._source = source
        self._store = store
        self._feed = feed
        self._timeouts = timeouts
        self._room = max_bytes
        self._asked_at = asked_at
        self._position = Position(1, 0)
        # Appended, not yet answered by the store. The store answers in order.
        self._pending: deque[tuple[Batch, int]] = deque()
        self._pending_bytes = 0
        self._deadlines: Deadlines | None = None
        self._began_at = asked_at
        self._first_at: float | None = None
        self._overhead = 0.0
        self._watch = watch
        self._cause: str | None = None
        self.ended = False
        self.failure: HeadwaterError | None = None
        self.unlogged: StreamError | None = None
        self.usage: Usage | None = None

    def start(self, first: StreamStart) -> None:
        """Write the first event and ask the upstream."""
        self._append((first,), closes=False)
        if self.ended:  # the log would not even take that
            return
        self._began_at = time.monotonic()
        self._overhead = self._began_at - self._asked_at
        if self._timeouts is not None:
            self._deadlines = Deadlines(self._timeouts, self._fail)
        try:
            self._source.start(self)
        except HeadwaterError as error:
            self._fail(error)

    def stop(self, cause: str = "asked") -> None:
        """Cancel the upstream at once; the log ends `cancelled`. Nothing when it has ended.

        `cause` is for metrics: `asked`, `unread` when nobody reads any more, or `revoked`.
        """
        if not self.ended:
            self._cause = cause
            self._source.cancel()
            self._close("cancelled", self._source.usage)

    def interrupt(self, message: str) -> None:
        """End because this process ends."""
        self._fail(UpstreamError("interrupted", message))

    def abandon(self) -> None:
        """Leave the log open, for another process to take over; readers are cut."""
        self.ended = True
        self._source.cancel()
        self._stop_deadlines()
        if self._watch is not None:
            self._watch.abandoned()
            self._watch = None
        self._feed.cut()

    # headwater.providers.base.Receiver

    def events(self, events: Sequence[Event]) -> None:
        if self.ended:
            return
        deadlines = self._deadlines
        if deadlines is not None:
            deadlines.data_at = self._time()
        if self._first_at is None:
            self._first_at = time.monotonic()
            if deadlines is not None:
                deadlines.begun()
            self._append(events, closes=False)
            self._overhead += time.monotonic() - self._first_at
        else:
            self._append(events, closes=False)

    def alive(self, data: bool) -> None:
        if self._deadlines is not None:
            self._deadlines.alive(data)

    def end(self, outcome: Outcome, events: Sequence[Event] = ()) -> None:
        if self.ended:
            return
        if events and self._first_at is None:
            self._first_at = time.monotonic()
        if isinstance(outcome, HeadwaterError):
            self._terminate(self._error(outcome), events)
        else:
            self._close(outcome.reason, outcome.usage, events)

    # the end

    def _fail(self, error: HeadwaterError) -> None:
        if not self.ended:
            self._source.cancel()
            self._terminate(self._error(error))

    def _error(self, error: HeadwaterError) -> StreamError:
        self.failure = error
        return StreamError(
            error.code, error.message, error.retryable, self._source.usage, self._timing()
        )

    def _close(
        self, reason: FinishReason, usage: Usage | None, events: Sequence[Event] = ()
    ) -> None:
        self._terminate(StreamEnd(reason, usage, self._timing()), events)

    def _terminate(self, event: StreamEnd | StreamError, before: Sequence[Event] = ()) -> None:
        self.ended = True
        self.usage = event.usage
        self._stop_deadlines()
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
                route=self._source.route,
                cause=self._cause,
                input_tokens=None if usage is None else usage.input_tokens,
                output_tokens=None if usage is None else usage.output_tokens,
                first_token_s=None if self._first_at is None else self._first_at - self._asked_at,
                total_s=time.monotonic() - self._asked_at,
                overhead_s=self._overhead,
                repairs=0,
                tries=self._source.tries,
            )
        )

    def _stop_deadlines(self) -> None:
        if self._deadlines is not None:
            self._deadlines.stop()
            self._deadlines = None  # it calls us: kept, it would be a circle

    def _timing(self) -> Timing:
        def since(at: float | None) -> float | None:
            return None if at is None else round((at - self._asked_at) * 1000, 2)

        connected_at = self._source.connected_at
        return Timing(
            queue=round((self._began_at - self._asked_at) * 1000, 2),
            connect=since(connected_at),
            first_token=since(self._first_at),
            total=round((time.monotonic() - self._asked_at) * 1000, 2),
            overhead=round(self._overhead * 1000, 3),
            attempts=self._source.attempts,
            route=self._source.route or UNSET,
            tried=tuple(self._source.tried) or UNSET,
        )

    # the log

    def _append(self, events: Sequence[Event], *, closes: bool) -> None:
        if len(events) == 1:
            data = encode(events[0])
            payloads = [data]
        else:
            payloads = [encode(event) for event in events]
            data = b"\n".join(payloads)
        self._room -= len(data)
        if self._room < 0 and not closes:
            self._fail(HeadwaterError("too_large", "The response is longer than a stream may be."))
            return
        prev = self._position
        first = last = Position(prev.epoch, prev.seq + 1)
        if len(events) > 1:
            last = Position(prev.epoch, prev.seq + len(events))
        self._position = last
        batch = Batch(first, last, events, payloads, closes)
        before = prev if prev.seq else START
        result = self._store.append(self._stream, before, last, data, closes, self._appended)
        if result == "ok":
            self._feed.publish(batch)
        else:
            self._wait(batch, len(data))
            if result is not None:
                self._appended(result)

    def _wait(self, batch: Batch, size: int) -> None:
        self._pending.append((batch, size))
        self._pending_bytes += size
        if self._pending_bytes > _MAX_PENDING and not self.ended:
            self._unstored("failed")

    def _appended(self, result: Appended) -> None:
        """What the store says of the append that has waited longest."""
        batch, size = self._pending.popleft()
        self._pending_bytes -= size
        if self._feed.ended:
            return
        if result in ("ok", "duplicate"):
            self._feed.publish(batch)
        else:
            self._unstored(result)

    def _unstored(self, result: Appended) -> None:
        log.error("stream %s: the store answered %s to an append", self._stream, result)
        if result in ("fenced", "closed"):  # another process has it now, and its readers should
            self.abandon()
            return
        self.ended = True
        self._source.cancel()
        self._stop_deadlines()
        error = StorageError("storage_failed", "The log cannot be written.")
        self.unlogged = self._error(error)
        self.usage = self.unlogged.usage
        self._feed.fail(self.unlogged)
        self._tell(self.unlogged)
