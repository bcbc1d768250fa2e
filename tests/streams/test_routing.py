from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from headwater.errors import HeadwaterError, RequestError, UnavailableError, UpstreamError
from headwater.events import Event, StreamEnd, StreamError, TextDelta, Usage
from headwater.providers.base import Finish, Outcome, Receiver
from headwater.providers.failures import http_failure, stream_failure
from headwater.routing.breaker import Breaker
from headwater.routing.retries import verdict
from headwater.routing.router import Router
from headwater.routing.source import RoutedSource, UnstartedAttempt
from headwater.settings import HedgeSettings, Settings, TimeoutSettings
from headwater.streams.generation import Generation, StreamOptions
from tests.helpers.clock import run
from tests.helpers.hub import ScriptedSource, make_hub

LIMITS = TimeoutSettings(first_token_s=10, idle_s=20, comments_s=50, total_s=95)

#: What a source does once it was asked: fails, says a text and ends, or nothing at all.
Act = HeadwaterError | str | None


class Playing(ScriptedSource):
    """A source that does one thing, some seconds after it was asked."""

    def __init__(self, act: Act, after_s: float) -> None:
        super().__init__()
        self.act = act
        self.after_s = after_s
        self.asked_at = 0.0

    def start(self, receiver: Receiver) -> None:
        super().start(receiver)
        loop = asyncio.get_running_loop()
        self.asked_at = loop.time()
        loop.call_later(self.after_s, self.play)

    def play(self) -> None:
        if self.cancelled or self.act is None:
            return
        if isinstance(self.act, HeadwaterError):
            self.end(self.act)
        else:
            self.usage = Usage(1, 2)
            self.say(TextDelta(self.act))
            self.end()


class Provider:
    """A candidate that does the acts of a list, and its last one for ever."""

    def __init__(self, name: str, *acts: Act, after_s: float = 0.0) -> None:
        self.name = name
        self.acts = list(acts)
        self.after_s = after_s
        self.refuses = False
        self.sources: list[Playing] = []

    @property
    def asked(self) -> int:
        return len(self.sources)

    @property
    def times(self) -> list[float]:
        return [round(source.asked_at, 3) for source in self.sources]

    def make(self) -> Playing:
        if self.refuses:
            raise RequestError(f"{self.name} has no tools.")
        act = self.acts[min(self.asked, len(self.acts) - 1)]
        self.sources.append(Playing(act, self.after_s))
        return self.sources[-1]

    @property
    def candidate(self) -> UnstartedAttempt:
        return UnstartedAttempt(self.name, self.make)


class Reading:
    """A receiver that keeps what it is told."""

    def __init__(self) -> None:
        self.text = ""
        self.outcome: Outcome | None = None
        self.ended_at = 0.0
        self.ended = asyncio.Event()

    def events(self, events: Sequence[Event]) -> None:
        assert self.outcome is None
        for event in events:
            assert isinstance(event, TextDelta)
            self.text += event.text

    def alive(self, data: bool) -> None:
        pass

    def end(self, outcome: Outcome, events: Sequence[Event] = ()) -> None:
        if events:
            self.events(events)
        assert self.outcome is None
        self.outcome = outcome
        self.ended_at = round(asyncio.get_running_loop().time(), 3)
        self.ended.set()

    @property
    def error(self) -> HeadwaterError:
        assert isinstance(self.outcome, HeadwaterError)
        return self.outcome


def router(limits: TimeoutSettings = LIMITS) -> Router:
    return Router(limits, jitter=lambda: 0.5)


def begin(
    shared: Router, *providers: Provider, hedge: HedgeSettings | None = None
) -> tuple[Reading, RoutedSource]:
    source = shared.source([provider.candidate for provider in providers], "m", hedge)
    reading = Reading()
    source.start(reading)
    return reading, source


async def whole(
    shared: Router, *providers: Provider, hedge: HedgeSettings | None = None
) -> tuple[Reading, RoutedSource]:
    reading, source = begin(shared, *providers, hedge=hedge)
    async with asyncio.timeout(1000):
        await reading.ended.wait()
    return reading, source


def once(*providers: Provider, limits: TimeoutSettings = LIMITS) -> tuple[Reading, RoutedSource]:
    """One request of a process that has just begun."""

    async def scenario() -> tuple[Reading, RoutedSource]:
        return await whole(router(limits), *providers)

    return run(scenario())


def http(status: int, headers: dict[str, str] | None = None) -> Callable[[], HeadwaterError]:
    return lambda: http_failure("p", status, headers or {}, b"")


def streamed(error: bytes) -> Callable[[], HeadwaterError]:
    return lambda: stream_failure("p", b'{"error": %b}' % error)


def upstream(code: str, *, retryable: bool | None = None) -> Callable[[], HeadwaterError]:
    return lambda: UpstreamError(code, "It failed.", retryable=retryable)


FAILURES: dict[str, tuple[Callable[[], HeadwaterError], str]] = {
    "refused, reset, empty, malformed": (upstream("upstream_error"), "retry"),
    "no connection in time": (upstream("upstream_timeout"), "retry"),
    "ended before a token": (upstream("truncated"), "retry"),
    "a certificate": (upstream("upstream_error", retryable=False), "next"),
    "no engine": (lambda: UnavailableError("overloaded", "It is full."), "retry"),
    "no key": (
        lambda: UnavailableError("provider_not_configured", "No key.", retryable=False),
        "next",
    ),
    "not to be sent": (lambda: HeadwaterError("internal", "A header."), "next"),
    **{f"HTTP {n}": (http(n), "retry") for n in (408, 429, 500, 502, 503, 504, 529)},
    **{f"HTTP {n}": (http(n), "next") for n in (301, 307, 401, 402, 403, 404)},
    **{f"HTTP {n}": (http(n), "forward") for n in (400, 405, 413, 422)},
    "rate limit in the stream": (streamed(b'{"type": "rate_limit_error"}'), "retry"),
    "overloaded in the stream": (streamed(b'{"type": "overloaded_error"}'), "retry"),
    "timeout in the stream": (streamed(b'{"code": 504}'), "retry"),
    "key in the stream": (streamed(b'{"code": 401}'), "next"),
    "context too long in the stream": (streamed(b'{"type": "invalid_request_error"}'), "forward"),
}
every_failure = pytest.mark.parametrize("failure", FAILURES)


@every_failure
def test_what_a_failure_means(failure: str) -> None:
    make, means = FAILURES[failure]
    assert verdict(make()) == means


@every_failure
def test_with_another_route_left(failure: str) -> None:
    make, means = FAILURES[failure]
    first, second = Provider("a/m", make()), Provider("b/m", "hello")
    reading, source = once(first, second)
    asked = {"retry": (3, 1), "next": (1, 1), "forward": (1, 0)}[means]
    assert (first.asked, second.asked) == asked
    assert source.attempts == sum(asked)
    if means == "forward":
        assert reading.error is first.acts[0]
        assert source.route is None
    else:
        assert (reading.text, reading.outcome) == ("hello", Finish("stop", Usage(3, 5)))
        assert source.route == "b/m"
        assert source.usage == Usage(1, 2)


@every_failure
def test_on_the_last_route(failure: str) -> None:
    make, means = FAILURES[failure]
    only = Provider("a/m", make())
    reading, source = once(only)
    assert only.asked == (3 if means == "retry" else 1)
    assert reading.error is only.acts[0]
    assert (reading.text, source.usage) == ("", None)


def test_the_error_is_that_of_the_last() -> None:
    first, second = Provider("a/m", http(401)()), Provider("b/m", http(429, {"retry-after": "9"})())
    reading, _ = once(first, second)
    assert (reading.error.code, reading.error.retry_after) == ("rate_limited", 9)


def test_the_log_says_who_failed_without_what_it_said(caplog: pytest.LogCaptureFixture) -> None:
    error = UpstreamError("upstream_error", "the prompt was: hush", retryable=False)
    once(Provider("a/m", error), Provider("b/m", "hello"))
    assert caplog.messages == ["a/m failed, so the next was asked: upstream_error"]


def test_a_retry_that_succeeds() -> None:
    first, second = Provider("a/m", http(503)(), "hello"), Provider("b/m", "no")
    reading, source = once(first, second)
    assert (reading.text, first.times, second.asked) == ("hello", [0, 0.1], 0)
    assert (source.attempts, source.route) == (2, None)


def test_waits_are_longer_each_time_and_jittered() -> None:
    first = Provider("a/m", http(500)())
    once(first)
    assert first.times == [0, 0.1, 0.3]


@pytest.mark.parametrize(
    ("seconds", "others", "times", "ended_at"),
    [
        ("0.4", True, [0, 0.4, 0.8], 0.8),
        ("2", True, [0], 0),  # the other answers sooner
        ("2", False, [0, 2, 4], 4),
        ("7", False, [0], 0),  # longer than anybody should be made to wait: forwarded
    ],
)
def test_retry_after(seconds: str, others: bool, times: list[float], ended_at: float) -> None:
    first = Provider("a/m", http(429, {"retry-after": seconds})())
    reading, _ = once(first, *([Provider("b/m", "hello")] if others else []))
    assert (first.times, reading.ended_at) == (times, ended_at)
    if not others:
        assert reading.error.retry_after == float(seconds)


def test_a_slow_failure_is_not_waited_for_again_while_another_is_left() -> None:
    first = Provider("a/m", http(500)(), after_s=1.2)
    reading, _ = once(first, Provider("b/m", "hello"))
    assert (first.asked, reading.ended_at) == (1, 1.2)


def test_one_deadline_for_all_retries() -> None:
    only = Provider("a/m", http(500)(), after_s=6)
    reading, _ = once(only)
    assert (only.times, reading.ended_at) == ([0, 6.1], 12.1)


def test_silence_before_the_first_token_fails_over() -> None:
    first, second = Provider("a/m", None), Provider("b/m", "hello", after_s=9)
    reading, source = once(first, second)
    assert (reading.text, reading.ended_at, source.attempts) == ("hello", 19, 2)
    assert first.sources[0].cancelled


def test_silence_of_the_last_is_an_error_and_not_asked_for_twice() -> None:
    first, second = Provider("a/m", None), Provider("b/m", None)
    reading, _ = once(first, second)
    assert (reading.error.code, reading.ended_at) == ("upstream_timeout", 20)
    assert (first.asked, second.asked) == (1, 1)


def test_comments_stretch_an_attempt_as_they_always_did() -> None:
    async def scenario() -> tuple[float, int]:
        first = Provider("a/m", None)
        reading, _ = begin(router(), first, Provider("b/m", "hello"))
        for _ in range(20):
            await asyncio.sleep(4)
            if not first.sources[0].cancelled and first.sources[0].receiver is not None:
                first.sources[0].receiver.alive(False)
        return reading.ended_at, first.asked

    assert run(scenario()) == (50, 1)


def test_after_the_first_event_nothing_is_asked_again() -> None:
    async def scenario() -> None:
        first, second = Provider("a/m", None), Provider("b/m", "no")
        reading, source = begin(router(), first, second)
        [asked] = first.sources
        asked.say(TextDelta("half"))
        assert asked.receiver is reading  # from here on a token costs the route nothing
        asked.end(http(500)())
        await asyncio.sleep(50)
        assert (reading.text, reading.error.code) == ("half", "upstream_error")
        assert (first.asked, second.asked, source.attempts) == (1, 0, 1)

    run(scenario())


def test_an_event_and_the_error_in_one_read_are_not_retried() -> None:
    async def scenario() -> None:
        first, second = Provider("a/m", None), Provider("b/m", "no")
        reading, _ = begin(router(), first, second)
        receiver = first.sources[0].receiver
        assert receiver is not None
        receiver.end(http(500)(), (TextDelta("half"),))
        assert (reading.text, reading.error.code, second.asked) == ("half", "upstream_error", 0)

    run(scenario())


@pytest.mark.parametrize("waiting", [False, True], ids=["in an attempt", "between two"])
def test_a_reader_who_leaves_frees_it(waiting: bool) -> None:
    async def scenario() -> None:
        act = http(500)() if waiting else None
        first, second = Provider("a/m", act), Provider("b/m", "no")
        reading, source = begin(router(), first, second)
        await asyncio.sleep(0.05)
        source.cancel()
        await asyncio.sleep(100)
        assert (first.asked, second.asked, reading.outcome) == (1, 0, None)
        assert first.sources[0].cancelled is not waiting

    run(scenario())


def test_what_is_cancelled_after_the_first_token_is_the_winner() -> None:
    async def scenario() -> None:
        first, second = Provider("a/m", http(401)()), Provider("b/m", None)
        _, source = begin(router(), first, second)
        await asyncio.sleep(0.01)
        second.sources[0].say(TextDelta("a"))
        source.cancel()
        assert second.sources[0].cancelled

    run(scenario())


def test_retries_have_a_budget_and_the_next_route_has_none() -> None:
    async def scenario() -> None:
        shared = router()
        first, second = Provider("a/m", http(500)()), Provider("b/m", "hello")
        alone, other = Provider("a/any", http(500)()), Provider("c/m", http(500)())
        for _ in range(100):
            await whole(shared, alone)
        assert 100 + 20 <= alone.asked <= 100 + 20 + 100 * 0.2
        reading, _ = await whole(shared, first, second)
        assert (reading.text, first.asked) == ("hello", 1)
        await whole(shared, other)  # of another provider, which has its own
        assert other.asked == 3

    run(scenario())


# who can do it


def test_a_request_that_nobody_can_do_is_an_error_at_once() -> None:
    async def scenario() -> None:
        first, second = Provider("a/m", "no"), Provider("b/m", "no")
        first.refuses = second.refuses = True
        with pytest.raises(RequestError, match="a/m has no tools"):
            begin(router(), first, second)

    run(scenario())


def test_who_cannot_do_it_is_passed_over() -> None:
    first, second, third = Provider("a/m", "no"), Provider("b/m", http(404)()), Provider("c/m", "x")
    first.refuses = third.refuses = True
    reading, source = once(first, second, third)
    assert (reading.error.code, source.attempts) == ("model_not_found", 1)


# breakers


def test_a_breaker_only_changes_the_order() -> None:
    async def scenario() -> list[tuple[int, int]]:
        shared = router()
        first, second = Provider("a/m", http(401)()), Provider("b/m", "hello")
        seen = []
        for _ in range(8):
            before = first.asked, second.asked
            reading, source = await whole(shared, first, second)
            assert reading.text == "hello"
            assert source.route == "b/m"
            seen.append((first.asked - before[0], second.asked - before[1]))
        await asyncio.sleep(10.1)  # cooled down: one asks again
        first.acts = ["here again"]
        assert (await whole(shared, first, second))[0].text == "here again"
        assert (await whole(shared, first, second))[0].text == "here again"
        return seen

    assert run(scenario()) == [(1, 1)] * 5 + [(0, 1)] * 3


def test_the_last_is_tried_whatever_its_breaker_says() -> None:
    async def scenario() -> None:
        shared = router()
        first, second = Provider("a/m", http(401)()), Provider("b/m", http(401)())
        for count in range(1, 21):
            await whole(shared, first, second)
            assert (first.asked, second.asked) == (count, count)

    run(scenario())


def test_a_refused_request_is_no_failure_of_the_provider() -> None:
    async def scenario() -> None:
        shared = router()
        first, second = Provider("a/m", http(400)()), Provider("b/m", "hello")
        for _ in range(8):
            await whole(shared, first, second)
        assert (first.asked, second.asked) == (8, 0)

    run(scenario())


def test_one_probe_at_a_time() -> None:
    breaker = Breaker(lambda: 0.5)
    for _ in range(4):
        breaker.failed(0)
        assert breaker.ready(0)
    breaker.failed(0)
    assert not breaker.ready(9.9)
    assert breaker.ready(10)
    breaker.asked(10)
    assert not breaker.ready(10)  # that one has not answered yet
    assert breaker.ready(20)  # and never will: its reader left
    breaker.asked(20)
    breaker.failed(21)
    assert not breaker.ready(30)
    breaker.answered()
    assert breaker.ready(30)


def test_success_closes_it_again() -> None:
    breaker = Breaker(lambda: 0.5)
    for _ in range(20):
        breaker.failed(0)
        breaker.answered()
    assert breaker.ready(0)


# hedging

AT_ONE = HedgeSettings("1.0s", max_extra=1.0)


def hedged(*providers: Provider, hedge: HedgeSettings = AT_ONE) -> tuple[Reading, RoutedSource]:
    async def scenario() -> tuple[Reading, RoutedSource]:
        return await whole(router(), *providers, hedge=hedge)

    return run(scenario())


def test_a_slow_first_is_raced_and_the_loser_freed() -> None:
    first, second = Provider("a/m", "slow", after_s=5), Provider("b/m", "fast", after_s=1)
    reading, source = hedged(first, second)
    assert (reading.text, reading.ended_at) == ("fast", 2)
    assert (source.attempts, source.route, source.usage) == (2, "b/m", Usage(1, 2))
    assert first.sources[0].cancelled
    assert not second.sources[0].cancelled


def test_the_first_may_still_win() -> None:
    first, second = Provider("a/m", "slow", after_s=2), Provider("b/m", "slower", after_s=5)
    reading, source = hedged(first, second)
    assert (reading.text, reading.ended_at, source.route) == ("slow", 2, None)
    assert second.sources[0].cancelled


def test_a_route_of_one_races_itself() -> None:
    only = Provider("a/m", "again", after_s=3)
    reading, source = hedged(only)
    assert (reading.text, reading.ended_at, source.attempts) == ("again", 3, 2)
    assert only.times == [0, 1]


def test_who_is_in_time_is_not_raced() -> None:
    first, second = Provider("a/m", "fast", after_s=0.9), Provider("b/m", "no")
    assert hedged(first, second)[0].text == "fast"
    assert second.asked == 0


@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_racer_that_fails_leaves_the_other_alone(status: int) -> None:
    first, second = Provider("a/m", "slow", after_s=5), Provider("b/m", http(status)())
    reading, _ = hedged(first, second)
    assert (reading.text, reading.ended_at, second.asked) == ("slow", 5, 1)


def test_both_fail() -> None:
    first, second = Provider("a/m", http(401)(), after_s=2), Provider("b/m", http(403)(), after_s=3)
    third = Provider("c/m", "third")
    reading, source = hedged(first, second, third)
    assert (reading.text, source.attempts) == ("third", 3)


def test_a_percentile_wants_samples_first() -> None:
    async def scenario() -> None:
        shared = router()
        hedge = HedgeSettings("p95", max_extra=1.0)
        first, second = Provider("a/m", "x", after_s=0.5), Provider("b/m", "y")
        first.after_s = 5
        await whole(shared, first, second, hedge=hedge)  # there are no samples yet
        first.after_s = 0.5
        for _ in range(19):
            await whole(shared, first, second, hedge=hedge)
        first.after_s = 0.4
        for _ in range(10):
            await whole(shared, first, second, hedge=hedge)
        assert second.asked == 0
        first.after_s = 5
        began = asyncio.get_running_loop().time()
        reading, _ = await whole(shared, first, second, hedge=hedge)
        assert (reading.text, round(reading.ended_at - began, 3)) == ("y", 0.5)

    run(scenario())


def test_extra_requests_are_a_share_of_all() -> None:
    async def scenario() -> int:
        shared = router()
        hedge = HedgeSettings("1.0s", max_extra=0.1)
        first, second = Provider("a/m", "x", after_s=5), Provider("b/m", "y", after_s=9)
        for _ in range(3000):
            await whole(shared, first, second, hedge=hedge)
        return second.asked

    assert 290 <= run(scenario()) <= 300


def test_a_reader_who_leaves_a_race_frees_both() -> None:
    async def scenario() -> None:
        first, second = Provider("a/m", None), Provider("b/m", None)
        reading, source = begin(router(), first, second, hedge=AT_ONE)
        await asyncio.sleep(1.5)
        source.cancel()
        assert first.sources[0].cancelled
        assert second.sources[0].cancelled
        await asyncio.sleep(100)
        assert reading.outcome is None

    run(scenario())


# in the hub


def in_hub(*providers: Provider, then_s: float) -> Any:
    """The terminal event of a stream whose winner says a word and falls silent."""

    async def scenario() -> Any:
        hub = make_hub(Settings(timeouts=LIMITS))
        shared = router()
        source = shared.source([provider.candidate for provider in providers], "m")
        stream = await hub.start(
            Generation(source, "m", timed="once begun"),
            StreamOptions(principal="me", on_disconnect="continue"),
        )
        loop = asyncio.get_running_loop()

        def speak() -> None:
            providers[-1].sources[-1].say(TextDelta("a"))

        loop.call_later(then_s, speak)
        events = [event async for event in stream.events()]
        return events[-1], loop.time()

    return run(scenario())


def test_silence_after_the_first_token_is_the_producer_s() -> None:
    end, at = in_hub(Provider("a/m", http(401)()), Provider("b/m", None), then_s=5)
    assert isinstance(end, StreamError)
    assert (end.code, "silent for 20 s" in end.message, at) == ("upstream_timeout", True, 25)
    assert end.timing is not None
    assert end.timing.attempts == 2
    assert end.timing.route == "b/m"


def test_the_whole_is_bounded_however_many_are_left() -> None:
    providers = [Provider(f"p{n}/m", None) for n in range(30)]
    end, at = in_hub(*providers, then_s=1000)
    assert isinstance(end, StreamError)
    assert ("in all" in end.message, at) == (True, 95)
    assert sum(provider.asked for provider in providers) == 10


def test_what_ended_leaves_no_circle() -> None:
    async def scenario() -> weakref.ref[object]:
        hub = make_hub()
        first, second = Provider("a/m", http(401)()), Provider("b/m", None)
        source = router().source([first.candidate, second.candidate], "m", AT_ONE)
        stream = await hub.start(
            Generation(source, "m", timed="once begun"),
            StreamOptions(principal="me", on_disconnect="continue"),
        )
        await asyncio.sleep(0.1)
        second.sources[0].say(TextDelta("a"))
        second.sources[0].end()
        assert isinstance([event async for event in stream.events()][-1], StreamEnd)
        for asked in (*first.sources, *second.sources):
            asked.receiver = None  # the test's own hold on it
        return weakref.ref(stream)

    gc.collect()
    gc.disable()
    try:
        assert run(scenario())() is None
    finally:
        gc.enable()
