"""What the heart tells: that a stream began and how it ended, that a reader came and went.

Nothing is told of a token, so that observing costs what a stream costs, not what its tokens do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, Protocol

import msgspec

from headwater.observe import instruments as of
from headwater.observe.instruments import Instrument, Meter

log = logging.getLogger("headwater.streams")

#: How a reader ended; `slow` is one that left with a full connection.
Left = Literal["whole", "left", "slow", "failed"]

_CHAT: Final = "chat"
# Model names come from callers: so many become labels, the others are one.
_MOST_MODELS: Final = 100
_OTHER: Final = "_OTHER"  # as the conventions call what is not among the known values


class Try(msgspec.Struct, frozen=True, gc=False):
    """One request to a provider. `route` is `provider/model`; times are `time.monotonic()`.

    `outcome` is `answered`, `cancelled` for one that lost a race or was no longer wanted, or the
    code of its failure before the first token; `hedge` says that it was made to race a slow one,
    and `asked` is false for one that was passed over, since it cannot do what was asked for.
    """

    route: str
    outcome: str
    began_at: float
    ended_at: float
    hedge: bool = False
    asked: bool = True


class Ended(msgspec.Struct, frozen=True):
    """The end of a generation; times are seconds from the request, None for a stage not reached.

    `outcome` is the finish reason, or the code of the error where `failed`; `ended_by` and `repair`
    are those of the stream's state; `tries` are the requests to providers.
    """

    outcome: str
    failed: bool
    ended_by: str
    repair: str | None
    route: str | None
    input_tokens: int | None
    output_tokens: int | None
    first_token_s: float | None
    total_s: float
    overhead_s: float
    repairs: int
    tries: Sequence[Try]


class Span(Protocol):
    """A stream, or a reader, as a tracing backend sees it."""

    def end(self, ended: Ended) -> None:
        """The generation is over."""


class Tracer(Protocol):
    """Where spans go."""

    def requested(self, headers: Mapping[str, str]) -> None:
        """A request came; in the context of its handling."""

    def stream(self, stream: str, model: str, route: str | None, wire: str | None) -> Span:
        """A generation begins, in the context of the request."""

    def reader(self, stream: str, wire: str, resumed: bool) -> Callable[[str], None]:
        """A reader comes; the answer is to be told how it went."""


class Watch:
    """Of one stream, from its beginning to its end."""

    __slots__ = ("_model", "_observer", "_route", "_span", "_stream")

    def __init__(
        self, observer: Observer, stream: str, model: str, route: str | None, span: Span | None
    ) -> None:
        self._observer = observer
        self._stream = stream
        self._model = model
        self._route = route
        self._span = span

    def ended(self, ended: Ended, node: str) -> None:
        """The log has its end, written by the process `node`."""
        route = ended.route or self._route or ""
        self._observer.ended(self._model, route.partition("/")[0] or _OTHER, ended)
        if self._span is not None:
            self._span.end(ended)
        level, why = logging.INFO, ""
        if ended.failed and ended.repair is not None:
            level = logging.WARNING
            why = f", ended by {ended.ended_by} in process {node}, repair {ended.repair}"
        if log.isEnabledFor(level):
            first = None if ended.first_token_s is None else round(ended.first_token_s * 1000)
            log.log(
                level,
                "stream %s: %s%s",
                self._stream,
                ended.outcome,
                why,
                extra={
                    "stream": self._stream,
                    "model": self._model,
                    "route": route or None,
                    "outcome": ended.outcome,
                    "ended_by": ended.ended_by,
                    "repair": ended.repair,
                    "node": node if why else None,
                    "attempts": len(ended.tries),
                    "first_token_ms": first,
                    "total_ms": round(ended.total_s * 1000),
                    "input_tokens": ended.input_tokens,
                    "output_tokens": ended.output_tokens,
                },
            )

    def abandoned(self) -> None:
        """The stream continues in another process."""
        self._observer.add(of.STREAMS, -1)


class Observer:
    """Turns what is told into values for every meter, and spans for the tracer if there is one."""

    def __init__(self, meters: Sequence[Meter] = (), tracer: Tracer | None = None) -> None:
        self.meters = list(meters)
        self.tracer = tracer
        self._models: set[str] = set()

    def add(self, instrument: Instrument, value: float, *labels: str) -> None:
        """To every meter."""
        for meter in self.meters:
            meter.add(instrument, value, labels)

    def stream(self, stream: str, model: str, route: str | None, wire: str | None) -> Watch:
        """A generation begins; `wire` is the one that it was asked in."""
        self.add(of.STREAMS, 1)
        span = None
        if self.tracer is not None:
            span = self.tracer.stream(stream, model, route, wire)
        return Watch(self, stream, model, route, span)

    def reader(self, stream: str, wire: str, resumed: bool) -> Callable[[Left], None]:
        """A reader comes; the answer is to be told how it went."""
        self.add(of.READERS, 1, wire)
        if resumed:
            self.add(of.RESUMES, 1, wire)
        told = None if self.tracer is None else self.tracer.reader(stream, wire, resumed)

        def left(how: Left) -> None:
            self.add(of.READERS, -1, wire)
            self.add(of.LEFT, 1, how)
            if told is not None:
                told(how)

        return left

    def requested(self, headers: Mapping[str, str]) -> None:
        """A request came: spans that begin while it is handled belong to its caller's."""
        if self.tracer is not None:
            self.tracer.requested(headers)

    def refused(self, status: int) -> None:
        """A request was answered with the status of an error."""
        self.add(of.REFUSED, 1, str(status))

    def swept(self, outcome: str, ended_by: str) -> None:
        """A stream of another process was ended here."""
        self.add(of.ENDED, 1, outcome, ended_by)

    def ended(self, model: str, provider: str, ended: Ended) -> None:
        """For `Watch`."""
        name = self._known(model)
        self.add(of.STREAMS, -1)
        self.add(of.ENDED, 1, ended.outcome, ended.ended_by)
        if ended.repairs:
            self.add(of.REPAIRS, ended.repairs)
        for tried in ended.tries:
            self.add(of.ATTEMPTS, 1, tried.route.partition("/")[0], tried.outcome)
            if tried.hedge:
                self.add(of.HEDGES, 1, "true" if tried.outcome == "answered" else "false")
        error = ended.outcome if ended.failed else ""
        self.add(of.DURATION, ended.total_s, _CHAT, provider, name, error)
        for kind, tokens in (("input", ended.input_tokens), ("output", ended.output_tokens)):
            if tokens is not None:
                self.add(of.TOKENS, tokens, _CHAT, provider, name, kind)
        self._first_token(provider, name, ended)

    def _first_token(self, provider: str, name: str, ended: Ended) -> None:
        first = ended.first_token_s
        if first is None:
            return
        self.add(of.OVERHEAD, ended.overhead_s)
        if ended.failed:
            return
        self.add(of.FIRST_TOKEN, first, _CHAT, provider, name)
        if ended.output_tokens is not None and ended.output_tokens > 1:
            each = (ended.total_s - first) / (ended.output_tokens - 1)
            self.add(of.PER_TOKEN, each, _CHAT, provider, name)

    def _known(self, model: str) -> str:
        if model in self._models:
            return model
        if len(self._models) >= _MOST_MODELS or len(model) > 200:
            return _OTHER
        self._models.add(model)
        return model
