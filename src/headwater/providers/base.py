"""Who generates: what the heart expects of a provider.

A provider's parser is pure: recorded bytes in, events out. A `Source` is one attempt at one
generation, pushed to its receiver; HTTP providers share the one in `http`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from headwater.errors import HeadwaterError
from headwater.events import Event, FinishReason, Usage
from headwater.generation import GenerationRequest, PartialText
from headwater.observe import Try
from headwater.upstream import Request

#: Runs a function that may block beside the event loop: in a thread, or as the host runs code.
Spawn = Callable[[Callable[[], None]], None]


class Finish(msgspec.Struct, frozen=True):
    """How a generation ended when it ended as it should."""

    reason: FinishReason
    usage: Usage | None = None


#: The end of a generation; exactly one a source.
Outcome = Finish | HeadwaterError


class Receiver(Protocol):
    """Whoever wants the events of a source. Called from the event loop; must not block."""

    def events(self, events: Sequence[Event]) -> None:
        """What one read brought, in order; never empty."""

    def alive(self, data: bool) -> None:
        """The upstream sent something that makes no event: data, or only comments."""

    def end(self, outcome: Outcome, events: Sequence[Event] = ()) -> None:
        """The generation is over, with what its last read brought. Nothing is called after it."""


class Source(Protocol):
    """One generation."""

    @property
    def attempts(self) -> int:
        """How often a provider was asked."""

    @property
    def route(self) -> str | None:
        """`provider/model` where another one answers than was to; None before, and elsewhere."""

    @property
    def tries(self) -> Sequence[Try]:
        """The requests to providers that are over, in order, and the one that answers.

        Nothing where there is no choice.
        """

    @property
    def connected_at(self) -> float | None:
        """`time.monotonic()` when a connection was there; None before, and where there is none."""

    @property
    def usage(self) -> Usage | None:
        """What was counted so far, for a generation that is cut short."""

    def start(self, receiver: Receiver) -> None:
        """Begin; everything else is pushed to `receiver`."""

    def cancel(self) -> None:
        """Free the upstream at once; the receiver hears nothing more."""


class ProviderSource(Source, Protocol):
    """One attempt at one generation, as a provider makes it."""

    def hand_over(self, receiver: Receiver) -> None:
        """Push to `receiver` from now on."""


class Provider(Protocol):
    """Makes sources."""

    name: str
    #: Whether it can go on from what an earlier attempt has said.
    continues: bool

    def source(
        self, request: GenerationRequest, model: str, said: PartialText | None = None
    ) -> ProviderSource:
        """A source that has not begun; `RequestError` for what this provider cannot do.

        With `said`, of one that `continues`: what comes after that, and nothing of it again.
        """

    async def aclose(self) -> None:
        """Give back what the provider holds."""


class Parser(Protocol):
    """One response of a provider's dialect: bytes in, events out. No I/O."""

    @property
    def outcome(self) -> Outcome | None:
        """Set when the end is known; the first error latches."""

    @property
    def usage(self) -> Usage | None:
        """What was counted so far."""

    @property
    def closed(self) -> bool:
        """True when nothing that may still come matters."""

    @property
    def messages(self) -> int:
        """Messages so far, those that make no event included; comments are not among them."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes completed."""

    def end(self) -> list[Event]:
        """The body is over: the last events; afterwards `outcome` is set."""


class Answers(Protocol):
    """How the answers to a request are read."""

    def parser(self, provider: str, content_type: str) -> Parser:
        """A parser for a response of this type with status 200."""

    def failure(
        self, provider: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> HeadwaterError:
        """What a response with another status means."""


class Dialect(Answers, Protocol):
    """A provider's dialect: how it is asked, and how its answers are read."""

    def request(
        self, base_url: str, key: str | None, request: GenerationRequest, model: str
    ) -> Request:
        """The HTTP request for a generation; always with `stream: true`."""


class Continuation(msgspec.Struct, frozen=True):
    """How a provider is asked to go on, and what of the text so far its answer may begin with.

    `whole`: that is an echo only if all of `repeated` comes; else as much as comes is one.
    """

    request: Request
    repeated: str
    whole: bool


@runtime_checkable
class Continues(Protocol):
    """A dialect in which a provider can be asked to go on from a given text."""

    def continuation(
        self,
        base_url: str,
        key: str | None,
        request: GenerationRequest,
        model: str,
        said: PartialText,
    ) -> Continuation:
        """The request; `RequestError` where there is nothing to go on from, or no room left."""
