"""What the parsers of all dialects share: framing, bounds, and how an answer ends."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeVar

import msgspec

from headwater.errors import HeadwaterError, UpstreamError
from headwater.events import Event, FinishReason, ToolCallEnd, Usage
from headwater.providers.base import Finish, Outcome
from headwater.providers.failures import stream_failure
from headwater.providers.lines import LineDecoder
from headwater.providers.text import Surrogates, without_surrogates
from headwater.sse import Decoder, Message, SSEError
from headwater.sse.decoder import MAX_EVENT_BYTES

T = TypeVar("T")

# The largest number that every reader of JSON can hold.
_MOST_TOKENS: Final = 2**53


class StreamParser:
    """Reads one answer. A dialect adds `read_message`, which reads one message.

    `read_message` sets `reason` when it has learnt why the generation ends, and calls `close` when
    nothing more can come that matters, `fail` when an error is told, `unreadable` for what is no
    message. `open_calls` holds the tool calls that are still open, by whatever tells them apart.
    """

    __slots__ = (
        "_content_type",
        "_framing",
        "_is_stream",
        "_provider",
        "_surrogates",
        "_whole",
        "_whole_size",
        "closed",
        "empty",
        "messages",
        "open_calls",
        "outcome",
        "reason",
        "usage",
    )

    def __init__(self, provider: str, content_type: str, *, lines: bool = False) -> None:
        self.outcome: Outcome | None = None
        self.usage: Usage | None = None
        self.closed = False
        self.messages = 0
        self._provider = provider
        # A whole JSON document is one line, if its provider writes lines.
        whole = ("text/html",) if lines else ("application/json", "text/html")
        self._is_stream = content_type not in whole
        self._content_type = content_type
        self._framing: Decoder | LineDecoder = LineDecoder() if lines else Decoder()
        self._whole: list[bytes] = []  # of a body that is not a stream
        self._whole_size = 0
        self.reason: FinishReason | None = None
        self.open_calls: dict[Any, str] = {}
        self._surrogates: Surrogates | None = None  # until a message holds half a character
        self.empty = True

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes completed."""
        events: list[Event] = []
        if not self._is_stream:
            self._collect(data)
            return events
        try:
            messages = self._framing.feed(data)
            endless = False
        except SSEError as error:
            messages = error.messages
            endless = True
        self.messages += len(messages)
        for message in messages:
            if self.closed:
                break  # data after the end is nobody's
            self.read_message(message, events)
        if endless:
            self.fail(UpstreamError("upstream_error", f"{self._provider} sent an endless event."))
        return events

    def end(self) -> list[Event]:
        """The body is over: the last events; afterwards `outcome` is set."""
        events: list[Event] = []
        if not self.closed:
            message = self._last()
            if message is not None:
                self.read_message(message, events, last=True)
        if not self.closed:
            self.close(events)
        return events

    def read(self, data: bytes) -> list[Event]:
        """The events of one message that came without framing: an SDK's object as JSON."""
        events: list[Event] = []
        if not self.closed:
            self.read_message(Message(data), events)
        return events

    @property
    def told(self) -> bool:
        """Whether it has been said why the generation ends."""
        return self.reason is not None

    def take_as_whole(self) -> None:
        """Nobody will say why the generation ends: its end is its end."""
        self.reason = self.reason or "stop"

    def read_message(self, message: Message, events: list[Event], *, last: bool = False) -> None:
        raise NotImplementedError

    def _collect(self, data: bytes) -> None:
        self._whole.append(data)
        self._whole_size += len(data)
        if self._whole_size > MAX_EVENT_BYTES:
            self._whole.clear()
            self.fail(UpstreamError("upstream_error", f"{self._provider} sent an endless body."))

    def _last(self) -> Message | None:
        if self._is_stream:
            return self._framing.flush()
        return Message(b"".join(self._whole)) if self._whole else None

    # what a message says

    def _text(self, kind: str, text: str) -> str:
        """`text` as it can be sent on: what a provider cut inside a character is joined."""
        return text if self._surrogates is None else self._surrogates.clean(kind, text)

    def _clean(self, value: T) -> T:
        """A value that is not cut, such as a name, as it can be sent on."""
        cleaned: T = value if self._surrogates is None else without_surrogates(value)
        return cleaned

    def _lenient(self) -> None:
        """From now on text may hold half a character."""
        self._surrogates = self._surrogates or Surrogates()

    def fail(self, error: HeadwaterError) -> None:
        if not self.closed:  # the first end latches
            self.closed = True
            self.outcome = error

    def fail_with(self, data: bytes) -> None:
        self.fail(stream_failure(self._provider, data))

    def unreadable(self, last: bool) -> None:
        """A message was none. An unfinished last one is what a cut leaves, not its own fault."""
        if not (last and self._is_stream):
            self.fail(self._malformed())

    def close(self, events: list[Event]) -> None:
        """The end of the body, or the provider's own end marker."""
        self.closed = True
        if self.reason is not None:
            if self._surrogates is not None:
                events.extend(self._surrogates.rest())
            events.extend(ToolCallEnd(call) for call in self.open_calls.values())
            self.outcome = Finish(self.reason, self.usage)
        elif self._content_type == "text/html":
            self.outcome = self._malformed()
        elif self.empty:
            self.outcome = UpstreamError("upstream_error", f"{self._provider} answered nothing.")
        else:
            self.outcome = UpstreamError(
                "truncated", f"{self._provider} broke off before the end of the answer."
            )

    def _malformed(self) -> HeadwaterError:
        if self._content_type == "text/html":
            what = "answered with a web page, not with a stream"
        else:
            what = "sent something that is not JSON"
        return UpstreamError("upstream_error", f"{self._provider} {what}.")


def lenient(data: bytes, kind: type[T], *, raw: Collection[str] = ()) -> T | None:
    """What msgspec refused, or None when it is not JSON or not of this shape.

    msgspec refuses lone surrogates and invalid UTF-8, which providers do send where they cut a
    character in two; the standard library reads them. They stay in the members that are text, to be
    joined; `raw` names the members that are kept as JSON.
    """

    def kept(value: dict[str, Any]) -> dict[str, Any]:
        for name in raw:
            if name in value:
                value[name] = msgspec.Raw(json.dumps(without_surrogates(value[name])).encode())
        return value

    try:
        value = json.loads(data.decode(errors="replace"), object_hook=kept if raw else None)
        return msgspec.convert(value, kind, strict=False)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def json_of(raw: msgspec.Raw) -> str:
    """A member as it was written; "" where it was not there, or null."""
    text = bytes(raw).decode()
    return "" if text == "null" else text


def counted(
    input_tokens: int | None,
    output_tokens: int | None,
    reasoning: int | None = None,
    cached: int | None = None,
) -> Usage:
    """Usage of what a provider counted; None is what it did not say.

    Limits are drawn from by these numbers, so they are bounded, whatever a provider says.
    """
    return Usage(
        input_tokens=_count(input_tokens) or 0,
        output_tokens=_count(output_tokens) or 0,
        reasoning_tokens=msgspec.UNSET if (count := _count(reasoning)) is None else count,
        cached_tokens=msgspec.UNSET if (count := _count(cached)) is None else count,
    )


def _count(said: object) -> int | None:
    """A number of tokens, none below 0 or beyond `_MOST_TOKENS`; None for what is no number."""
    return min(max(said, 0), _MOST_TOKENS) if type(said) is int else None


def listed(value: Any) -> list[Any]:
    """A member that is to be a list; an empty one for what is none."""
    return value if isinstance(value, list) else []


def url_of(source: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """URL and title of a citation that has a URL."""
    url, title = source.get("url"), source.get("title")
    if not isinstance(url, str) or not url:
        return None
    return url, title if isinstance(title, str) and title else None
