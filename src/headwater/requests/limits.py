"""What one principal may use: requests and tokens a minute, streams at once, tokens an answer.

Per process: each counts what it began itself.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final

from msgspec import structs

from headwater.errors import HeadwaterError, RequestError
from headwater.generation import GenerationRequest
from headwater.json_text import Place, place_name
from headwater.settings import KeyLimits
from headwater.streams.local import LocalStream

# Characters of a token, for what no provider has counted yet: English prose in common vocabularies.
_CHARACTERS: Final = 4
# The longest context of any model. A provider that counts more would lock its caller out for ever.
_MOST: Final = 10_000_000
# A running stream may end at any time: its caller is to look again soon.
_LOOK_AGAIN_S: Final = 1.0
# Principals may be as many as an app has users. Each request looks at so many accounts for idle
# ones: more than the one that it may add, so that idle ones go at any rate of requests.
_LOOKED_AT: Final = 3
_CAPS: Final = ("max_tokens", "max_completion_tokens")
# What other servers call the length of an answer, and what makes them go beyond it.
_LENGTHS: Final = frozenset(
    {
        *_CAPS,
        "max_gen_len",
        "max_length",
        "max_new_tokens",
        "max_output_tokens",
        "max_tokens_to_sample",
        "min_length",
        "min_new_tokens",
        "min_tokens",
        "n_predict",
        "num_predict",
    }
)
# Parts of a message whose bytes, in the member of the same name, are no text.
_MEDIA: Final = frozenset({"file", "image_url", "input_audio"})
# Members that no model reads: the app's, and what says how the answer is to come.
_UNREAD: Final = frozenset({"metadata", "service_tier", "stream_options", "user"})
# Members in which names are the caller's own.
_SCHEMAS: Final = frozenset(
    {"functions", "guided_json", "json_schema", "metadata", "response_format", "tools"}
)


class Bucket:
    """Holds what a minute allows, and fills evenly; what is drawn beyond it is owed.

    Times are seconds of any one clock that does not go back.
    """

    def __init__(self, per_minute: int, now: float) -> None:
        self.most = float(per_minute)
        self._level = self.most
        self._at = now

    def level(self, now: float) -> float:
        """What is there; less than nothing while something is owed."""
        self._level = min(self.most, self._level + (now - self._at) * self.most / 60)
        self._at = now
        return self._level

    def draw(self, amount: float, now: float) -> None:
        """Take; a negative amount is given back."""
        self._level = min(self.most, self.level(now) - amount)

    def wait(self, wanted: float, now: float) -> float:
        """Seconds until `wanted` is there, 0 when it is."""
        return max(0.0, (wanted - self.level(now)) * 60 / self.most)


class _Account:
    """One principal's."""

    def __init__(self, limits: KeyLimits, now: float) -> None:
        self.running: set[Ticket] = set()
        self.adopt(limits, now)

    def adopt(self, limits: KeyLimits, now: float) -> None:
        """Count by these limits from now on; what runs is still counted."""
        self.limits = limits
        asked, tokens = limits.requests_per_minute, limits.tokens_per_minute
        self.requests = None if asked is None else Bucket(asked, now)
        self.tokens = None if tokens is None else Bucket(tokens, now)

    def idle(self, now: float) -> bool:
        """Whether a new account would be just like it."""
        buckets = [each for each in (self.requests, self.tokens) if each is not None]
        return not self.running and all(each.level(now) >= each.most for each in buckets)


class Ticket:
    """The leave to run one stream, counted from its first moment until it is settled."""

    def __init__(self, account: _Account, clock: Callable[[], float]) -> None:
        self._account = account
        self._clock = clock
        self._input = 0.0
        self._stream: LocalStream | None = None
        self._settled = False
        account.running.add(self)

    @property
    def tokens(self) -> float:
        """What the stream has used so far, as far as can be told: a piece is about a token."""
        return self._input + (0 if self._stream is None else self._stream.feed.position.seq)

    def asks(self, asked: object) -> None:
        """Count the input of a request that a provider has not counted yet."""
        if self._account.tokens is not None and isinstance(asked, GenerationRequest):
            self._input = _characters(asked) / _CHARACTERS

    def begun(self, stream: LocalStream) -> None:
        """The stream runs; its tokens are counted when it ends."""
        self._settled = True
        self._stream = stream
        if stream.feed.ended:
            self._ended()
        else:
            stream.on_over = self._ended

    def unused(self) -> None:
        """Give back what was counted, unless a stream has begun or it was given back before."""
        if self._settled:
            return
        self._settled = True
        self._account.running.discard(self)
        if self._account.requests is not None:
            self._account.requests.draw(-1, self._clock())

    def _ended(self) -> None:
        self._account.running.discard(self)
        usage = None if self._stream is None else self._stream.producer.usage
        used = self.tokens if usage is None else usage.input_tokens + usage.output_tokens
        self._stream = None
        if self._account.tokens is not None:
            self._account.tokens.draw(min(used, _MOST), self._clock())


class Limits:
    """Admits streams, by principal; None is a principal too. `of` gives a principal's limits."""

    def __init__(
        self,
        of: Callable[[str | None], KeyLimits],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._of = of
        self._clock = clock
        self._accounts: OrderedDict[str | None, _Account] = OrderedDict()

    def capped(self, principal: str | None, asked: GenerationRequest) -> GenerationRequest:
        """The request with the longest answer it may have; `RequestError` when it asks for more."""
        most = self._of(principal).max_output_tokens
        if most is None:
            return asked
        for place, tokens in _lengths(None, asked.options):
            if not isinstance(tokens, int) or not 0 <= tokens <= most:  # -1 is without end
                raise RequestError(
                    f"At most {most} output tokens may be asked for here, not {tokens!r:.20}.",
                    param=place_name(place),
                )
        if any(asked.options.get(name) is not None for name in _CAPS):
            return asked
        return structs.replace(asked, options={**asked.options, "max_tokens": most})

    def admit(self, principal: str | None) -> Ticket:
        """Leave to begin a stream; `HeadwaterError` (`rate_limited`) when a limit is reached."""
        now = self._clock()
        account = self._account(principal, now)
        self._check_streams(account)
        self._check_tokens(account, now)
        if account.requests is not None:
            wait = account.requests.wait(1, now)
            if wait:
                raise _limited("requests_per_minute", account.limits.requests_per_minute, wait)
            account.requests.draw(1, now)
        return Ticket(account, self._clock)

    def _check_streams(self, account: _Account) -> None:
        most = account.limits.concurrent_streams
        if most is not None and len(account.running) >= most:
            raise _limited("concurrent_streams", most, _LOOK_AGAIN_S)

    def _check_tokens(self, account: _Account, now: float) -> None:
        """Something must be left beyond what running streams have used; what is taken is owed."""
        if account.tokens is not None:
            running = sum(ticket.tokens for ticket in account.running)
            wait = account.tokens.wait(running + 1, now)
            if wait:
                raise _limited("tokens_per_minute", account.limits.tokens_per_minute, wait)

    def _account(self, principal: str | None, now: float) -> _Account:
        for _ in range(min(_LOOKED_AT, len(self._accounts))):
            name, first = self._accounts.popitem(last=False)
            if not first.idle(now):
                self._accounts[name] = first
        account, limits = self._accounts.get(principal), self._of(principal)
        if account is None:
            account = self._accounts[principal] = _Account(limits, now)
        elif account.limits != limits:
            account.adopt(limits, now)
        return account


def _limited(setting: str, most: int | None, wait: float) -> HeadwaterError:
    what = {
        "requests_per_minute": "requests a minute",
        "tokens_per_minute": "tokens a minute",
        "concurrent_streams": "streams at once",
    }[setting]
    return HeadwaterError(
        "rate_limited",
        f"You may have {most} {what} here (limits.{setting}); ask again later.",
        retry_after=wait,
    )


def _lengths(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    """The lengths that options ask for, with their places, at any depth."""
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _lengths((place, number), inner)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name in _LENGTHS and inner is not None:
                yield (place, name), inner
            elif name not in _SCHEMAS:
                yield from _lengths((place, name), inner)


def _characters(asked: GenerationRequest) -> int:
    """The text of a request: of its conversation, and of what else a model is sent to read."""
    said = sum(map(_said, asked.messages))
    return said + sum(_text(value) for name, value in asked.options.items() if name not in _UNREAD)


def _said(message: dict[str, Any]) -> int:
    """The text of a message; images and the like are counted by the provider alone."""
    total = 0
    for name, value in message.items():
        if name == "content" and isinstance(value, list):
            total += sum(map(_part, value))
        elif name != "role":
            total += _text(value)
    return total


def _part(part: Any) -> int:
    if not isinstance(part, dict):
        return _text(part)
    kind = part.get("type")
    apart = ("type", kind if kind in _MEDIA else "type")
    return sum(_text(value) for name, value in part.items() if name not in apart)


def _text(value: Any) -> int:
    """The characters of all strings in a JSON value, names of members included."""
    total, left = 0, [value]
    while left:
        match left.pop():
            case str(text):
                total += len(text)
            case dict(members):
                total += sum(map(len, members))
                left.extend(members.values())
            case list(items):
                left.extend(items)
    return total
