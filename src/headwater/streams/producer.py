"""Provider to store: one generation, written down event by event.

The producer owns the terminal event: there is exactly one, and it is the last.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from headwater.errors import HeadwaterError, StorageError, UpstreamError
from headwater.events import EndedBy, Event, StreamEnd, StreamError, StreamStart, Timing, Usage
from headwater.observe import Watch
from headwater.providers.base import Outcome, Source
from headwater.providers.deadlines import Deadlines
from headwater.settings import TimeoutSettings
from headwater.stores.base import Appended
from headwater.streams.accounting import Accounting
from headwater.streams.recovery import not_tried
from headwater.streams.repairs import Break, NullSource, Repairs
from headwater.streams.writing import LogWriter

log = logging.getLogger("headwater.streams")


class Ending(msgspec.Struct, frozen=True):
    """How a stream ended. `failure` is the error behind `event`; `logged`: the log has it."""

    event: StreamEnd | StreamError
    failure: HeadwaterError | None = None
    logged: bool = True


class Producer:
    """Drives one source into one log.

    `ended`: nothing more is written here. `left`: another process is to end the log, or has.
    `ending` is how it ended here, None before.
    """

    __slots__ = (
        "_accounting",
        "_deadlines",
        "_log",
        "_repairs",
        "_source",
        "_time",
        "_waiting",
        "_watch",
        "ended",
        "ending",
        "left",
    )

    def __init__(
        self,
        source: Source,
        log_: LogWriter,
        accounting: Accounting,
        repairs: Repairs,
        watch: Watch | None = None,
    ) -> None:
        self._time = asyncio.get_running_loop().time
        self._source = source
        self._log = log_
        self._accounting = accounting
        self._repairs = repairs
        self._watch = watch
        self._deadlines: Deadlines | None = None
        self._waiting = True  # for the first event of an attempt
        self.ended = False
        self.left = False
        self.ending: Ending | None = None

    @property
    def failure(self) -> HeadwaterError | None:
        """The error that ended the log, where one did."""
        return None if self.ending is None else self.ending.failure

    @property
    def unlogged(self) -> StreamError | None:
        """The terminal event, where the log could not take it."""
        ending = self.ending
        if ending is None or ending.logged or not isinstance(ending.event, StreamError):
            return None
        return ending.event

    @property
    def usage(self) -> Usage | None:
        """Tokens that the provider had counted at the end; None before."""
        return None if self.ending is None else self.ending.event.usage

    def start(self, first: StreamStart | None, timeouts: TimeoutSettings | None) -> None:
        """Write the first event and ask the provider.

        `first` is None where the log has it, `timeouts` for a source without deadlines.
        """
        self._log.on_refused = self._refused
        if first is not None:
            self._append((first,))
        if self.ended:  # the log would not even take that
            return
        self._accounting.begin()
        if timeouts is not None:
            self._deadlines = Deadlines(timeouts, self._late)
        self._ask(self._source)

    def stop(self, ended_by: EndedBy = "caller") -> None:
        """Cancel the provider at once; the log ends `cancelled`. Nothing when it has ended."""
        if not self.ended:
            self._source.cancel()
            usage = self._accounting.usage(self._source)
            self._close(StreamEnd("cancelled", usage, self._timing(), ended_by))

    def interrupt(self, message: str) -> None:
        """End because this process ends, and no other can reach the log."""
        if not self.ended:
            self._repairs.outcome = not_tried("unshared_store")
            self._fail(UpstreamError("interrupted", message), "shutdown")

    def abandon(self) -> None:
        """Leave the log open, for another process to take over; readers are cut."""
        self.left = True
        self._stop()
        self._source.cancel()
        self._log.on_refused = None
        if self._watch is not None:
            self._watch.abandoned()
            self._watch = None
        self._log.feed.cut()

    # headwater.providers.base.Receiver

    def events(self, events: Sequence[Event]) -> None:
        if self.ended:
            return
        if self._deadlines is not None:
            self._deadlines.data_at = self._time()
        if not self._waiting:
            if not self._log.append(events):
                self._too_long()
            return
        began, first = time.monotonic(), self._accounting.first_at is None
        self._append(self._begun(events))
        if first:
            self._accounting.delivered_first(began)

    def alive(self, data: bool) -> None:
        if self._deadlines is not None:
            self._deadlines.alive(data)

    def end(self, outcome: Outcome, events: Sequence[Event] = ()) -> None:
        if self.ended:
            return
        if self._waiting and (events or not isinstance(outcome, HeadwaterError)):
            events = self._begun(events)
        if not isinstance(outcome, HeadwaterError):
            self._repairs.answered(self._source.route)
            usage = self._accounting.total_usage(outcome.usage)
            self._close(StreamEnd(outcome.reason, usage, self._timing()), events)
            return
        by: EndedBy = "deadline" if outcome.code == "upstream_timeout" else "provider"
        if not self._mend(Break(outcome, by), events):
            self._repairs.attempt_failed(outcome)
            error, by = self._repairs.owed or (outcome, by)
            self._close(self._error(error, by), events, error)

    # the log

    def _append(self, events: Sequence[Event]) -> None:
        if not self._log.append(events):
            self._too_long()

    def _too_long(self) -> None:
        error = HeadwaterError("too_large", "The response is longer than a stream may be.")
        self._fail(error, "size_limit")

    def _refused(self, result: Appended) -> None:
        log.error("stream %s: the store answered %s to an append", self._log.stream, result)
        if result in ("fenced", "closed"):  # another process has it now, and its readers should
            self.abandon()
            return
        self._stop()
        self._source.cancel()
        error = StorageError("storage_failed", "The log cannot be written.")
        self._repairs.outcome = not_tried("log_unwritable")
        event = self._error(error, "storage")
        self.ending = Ending(event, error, logged=False)
        self._log.feed.fail(event)
        self._tell(event)

    # what breaks off

    def _ask(self, source: Source) -> None:
        self._source = source
        try:
            source.start(self)
        except HeadwaterError as error:
            self.end(error)

    def _begun(self, events: Sequence[Event]) -> Sequence[Event]:
        """The first event of an attempt; with the seam before it, where it continues a text."""
        self._waiting = False
        if self._accounting.first_at is None and events:
            self._accounting.first_at = time.monotonic()
        if self._deadlines is not None:
            self._deadlines.begun()
        self._accounting.answers()
        seam = self._repairs.seam(self._source.route)
        return events if seam is None else (seam, *events)

    def _late(self, error: HeadwaterError) -> None:
        spent = self._deadlines is None or self._deadlines.spent
        if not self._mend(Break(error, "deadline"), spent=spent):
            self._repairs.attempt_failed(error)
            self._fail(error, "deadline")

    def _mend(self, broke: Break, events: Sequence[Event] = (), *, spent: bool = False) -> bool:
        """Let another attempt continue the text; False when there is to be none."""
        source = self._source
        if self._waiting or not self._repairs.possible(broke.error, source.route, spent=spent):
            return False
        source.cancel()
        if events:
            self._append(events)
        if self.ended:  # that was too much for the log
            return True
        self._accounting.broke_off(source)
        self._source, self._waiting = NullSource(), True
        if self._deadlines is not None:
            self._deadlines.anew()
        self._repairs.begin(broke, self._log, self._continue)
        return True

    def _continue(self, source: Source | None) -> None:
        if source is not None:
            self._ask(source)
        elif self._repairs.owed is not None:
            self._fail(*self._repairs.owed)

    # the end

    def _fail(self, error: HeadwaterError, ended_by: EndedBy) -> None:
        if not self.ended:
            self._source.cancel()
            self._close(self._error(error, ended_by), failure=error)

    def _error(self, error: HeadwaterError, ended_by: EndedBy) -> StreamError:
        return StreamError(
            error.code,
            error.message,
            error.retryable,
            self._accounting.usage(self._source),
            self._timing(),
            UNSET if ended_by == "provider" else ended_by,
            self._repairs.outcome or UNSET,
        )

    def _close(
        self,
        event: StreamEnd | StreamError,
        before: Sequence[Event] = (),
        failure: HeadwaterError | None = None,
    ) -> None:
        self._stop()
        self.ending = Ending(event, failure)
        self._log.append((*before, event), closes=True)
        self._tell(event)

    def _tell(self, event: StreamEnd | StreamError) -> None:
        """Report the end to the observer, once: a log that refuses the end has reported it."""
        watch, self._watch = self._watch, None
        if watch is None:
            return
        outcome = self._repairs.outcome or ("made" if self._repairs.made else None)
        ended = self._accounting.report(self._source, event, self._repairs.made, outcome)
        watch.ended(ended, self._log.store.node)

    def _stop(self) -> None:
        """Nothing more is awaited."""
        self.ended = True
        self._repairs.cancel()
        if self._deadlines is not None:
            self._deadlines.stop()
            self._deadlines = None  # it calls the producer: kept, it would be a reference cycle

    def _timing(self) -> Timing:
        return self._accounting.timing(self._source)
