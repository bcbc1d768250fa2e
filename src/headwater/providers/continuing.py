"""Going on from what a response that broke off has said: how it is asked, and read.

Pure. A provider that is given the text so far may repeat it before it goes on; a reader has it
already. What is repeated is dropped by comparing, since one server's versions differ in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import structs

from headwater.errors import HeadwaterError, RequestError
from headwater.events import Event, TextDelta, Usage
from headwater.generation import GenerationRequest, PartialText
from headwater.providers.base import Answers, Continuation, Outcome, Parser

_LIMITS: Final = ("max_tokens", "max_completion_tokens")


def going_on(request: GenerationRequest, said: PartialText) -> GenerationRequest:
    """`request` with what was said as its last message, and what is left of its limit.

    `RequestError` when nothing is left. The message is not there when nothing was said.
    """
    options = dict(request.options)
    for name in _LIMITS:
        limit = options.get(name)
        if isinstance(limit, int):
            if limit <= said.tokens:
                raise RequestError(f"{name} is used up: {said.tokens} of {limit}.", param=name)
            options[name] = limit - said.tokens
    messages = request.messages
    if said.text:
        message = {"role": "assistant", "content": said.text}
        if said.reasoning:
            message["reasoning_content"] = said.reasoning
        messages = [*messages, message]
    return structs.replace(request, messages=messages, options=options)


class Continuing:
    """Reads the answers to a request to go on."""

    def __init__(self, answers: Answers, continuation: Continuation) -> None:
        self._answers = answers
        self._continuation = continuation

    def parser(self, provider: str, content_type: str) -> Parser:
        parser, asked = self._answers.parser(provider, content_type), self._continuation
        return WithoutEcho(parser, asked.repeated, asked.whole) if asked.repeated else parser

    def failure(
        self, provider: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> HeadwaterError:
        return self._answers.failure(provider, status, headers, body)


class WithoutEcho:
    """A parser whose events are those of another, without a text that they begin with.

    What matches is held, no more than `repeated` is long. `whole`: where not all of it comes, it
    was no echo, and nothing is dropped.
    """

    def __init__(self, parser: Parser, repeated: str, whole: bool) -> None:
        self._parser = parser
        self._repeated = repeated  # empty once it is known what of it came
        self._at = 0
        self._whole = whole
        self._held: list[Event] = []

    @property
    def outcome(self) -> Outcome | None:
        return self._parser.outcome

    @property
    def usage(self) -> Usage | None:
        return self._parser.usage

    @property
    def closed(self) -> bool:
        return self._parser.closed

    @property
    def messages(self) -> int:
        return self._parser.messages

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes completed, as far as they are known to be new."""
        return self._new(self._parser.feed(data))

    def end(self) -> list[Event]:
        """The last events; afterwards `outcome` is set."""
        return self._new(self._parser.end())

    def _new(self, events: Sequence[Event]) -> list[Event]:
        new: list[Event] = []
        for event in events:
            if isinstance(event, TextDelta) and self._repeated:
                self._compare(event, new)
            else:
                (self._held if self._held else new).append(event)
        if self._repeated and self.outcome is not None:
            # Cut inside what may have been an echo, it has said nothing that can be relied on.
            self._settle(new, echo=not self._whole or isinstance(self.outcome, HeadwaterError))
        return new

    def _compare(self, event: TextDelta, new: list[Event]) -> None:
        self._held.append(event)
        text, at = event.text, self._at
        self._at += len(text)
        if self._at < len(self._repeated) and self._repeated.startswith(text, at):
            return
        awaited = self._repeated[at : self._at]
        common = _common(awaited, text)
        echo = not self._whole or at + common == len(self._repeated)
        self._settle(new, echo=echo)
        if echo and common < len(text):
            new.append(TextDelta(text[common:]))

    def _settle(self, new: list[Event], *, echo: bool) -> None:
        self._repeated = ""
        new += [event for event in self._held if not (echo and isinstance(event, TextDelta))]
        self._held.clear()


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    shorter = min(len(one), len(other))
    return next((at for at in range(shorter) if one[at] != other[at]), shorter)
