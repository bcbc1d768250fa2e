"""The limits of a principal, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import HeadwaterError, RequestError
from headwater.events import TextDelta, Usage
from headwater.generation import GenerationRequest
from headwater.providers.base import Finish
from headwater.requests.limits import Bucket, Limits, Ticket
from headwater.settings import KeyLimits
from tests.helpers.hub import begin, make_hub

ASKED = GenerationRequest(messages=[{"role": "user", "content": "x" * 40}])


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def attempt(limits: Limits, principal: str | None = "ann") -> Ticket | HeadwaterError:
    try:
        ticket = limits.admit(principal)
    except HeadwaterError as error:
        return error.with_traceback(None)  # whose frames would hold what the tests let go
    ticket.asks(ASKED)
    return ticket


def refusal(limits: Limits, principal: str | None = "ann") -> HeadwaterError | None:
    """What is said to a request that is refused; one that is not gives its leave back."""
    told = attempt(limits, principal)
    if isinstance(told, HeadwaterError):
        return told
    told.unused()
    return None


@given(st.integers(1, 50), st.lists(st.tuples(st.floats(0, 90), st.booleans()), max_size=60))
def test_no_more_pass_than_a_bucket_allows(
    per_minute: int, steps: list[tuple[float, bool]]
) -> None:
    """In any span of time: a minute's worth, and what the span adds; who waits as told passes."""
    clock = Clock()
    limits = Limits(lambda _: KeyLimits(requests_per_minute=per_minute), clock)
    passed: list[float] = []
    for wait, obedient in steps:
        clock.now += wait
        for _ in range(3):
            told = attempt(limits)
            if isinstance(told, HeadwaterError):
                assert (told.code, told.status) == ("rate_limited", 429)
                assert told.retry_after is not None
                assert 0 < told.retry_after <= 60 / per_minute + 1e-6
                if obedient:
                    clock.now += told.retry_after + 1e-6
                    assert isinstance(attempt(limits), Ticket)
                    passed.append(clock.now)
            else:
                passed.append(clock.now)
    for first, begun in enumerate(passed):
        for count, last in enumerate(passed[first:], 1):
            assert count <= per_minute + (last - begun) * per_minute / 60 + 1e-3


@given(
    st.integers(1, 1000), st.lists(st.tuples(st.floats(0, 50), st.floats(-5, 2000)), max_size=40)
)
def test_a_bucket_owes_and_fills_and_never_overflows(
    per_minute: int, steps: list[tuple[float, float]]
) -> None:
    now, bucket = 0.0, Bucket(per_minute, 0.0)
    for wait, amount in steps:
        now += wait
        before = bucket.level(now)
        bucket.draw(amount, now)
        assert bucket.level(now) == pytest.approx(min(per_minute, before - amount))
        until = bucket.wait(1, now)
        assert bucket.level(now) + until * per_minute / 60 >= 1 - 1e-6


def test_one_principal_does_not_touch_another() -> None:
    limits = Limits(lambda _: KeyLimits(requests_per_minute=1, concurrent_streams=1), Clock())
    limits.admit("ann")
    assert refusal(limits, "ann") is not None
    assert refusal(limits, "bob") is None
    assert refusal(limits, None) is None


def test_what_could_not_begin_was_not_used() -> None:
    limits = Limits(lambda _: KeyLimits(requests_per_minute=1, concurrent_streams=1), Clock())
    for _ in range(3):
        limits.admit("ann").unused()


def test_a_refusal_costs_nothing() -> None:
    clock = Clock()
    limits = Limits(lambda _: KeyLimits(requests_per_minute=60), clock)
    for _ in range(60):
        limits.admit("ann")
    for _ in range(100):
        assert refusal(limits) is not None
    clock.now += 1.001
    assert refusal(limits) is None


@pytest.mark.parametrize(
    ("usage", "used"),
    [(Usage(30, 50), 80), (None, 40 / 4 + 5)],  # the start, three pieces and the end are five
    ids=["counted", "estimated"],
)
def test_tokens_are_counted_at_the_end(usage: Usage | None, used: float) -> None:
    async def scenario() -> None:
        clock = Clock()
        limits = Limits(lambda _: KeyLimits(tokens_per_minute=60), clock)
        stream, source = await begin(make_hub(), principal="ann")
        limits.admit("ann").begun(stream)
        source.say(*(TextDelta("x") for _ in range(3)))
        assert refusal(limits) is None  # 14 are estimated so far: there is some left
        source.end(Finish("stop", usage))
        owed = used + 1 - 60
        error = refusal(limits)
        if owed <= 0:
            assert error is None
        else:
            assert error is not None
            assert error.retry_after == pytest.approx(owed)
            clock.now += owed + 0.001
            assert refusal(limits) is None

    asyncio.run(scenario())


def test_running_streams_count_by_their_pieces() -> None:
    async def scenario() -> None:
        limits = Limits(lambda _: KeyLimits(tokens_per_minute=60), Clock())
        stream, source = await begin(make_hub(), principal="ann")
        limits.admit("ann").begun(stream)
        for _ in range(60):
            source.say(TextDelta("x"))
        assert refusal(limits) is not None
        source.end(Finish("stop", Usage(1, 1)))  # many pieces, and few tokens after all
        assert refusal(limits) is None

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["end", "stop", "abandon"])
def test_a_place_is_free_when_a_stream_is_over(how: str) -> None:
    async def scenario() -> weakref.ref[object]:
        limits = Limits(lambda _: KeyLimits(concurrent_streams=1), Clock())
        stream, source = await begin(make_hub(), principal="ann")
        limits.admit("ann").begun(stream)
        error = refusal(limits)
        assert error is not None
        assert (error.code, error.retry_after) == ("rate_limited", 1)
        match how:
            case "end":
                source.end()
            case "stop":
                stream.producer.stop()
            case _:
                stream.producer.abandon()
        assert refusal(limits) is None
        source.receiver = None
        return weakref.ref(stream)

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(scenario())() is None  # and no circle is left
    finally:
        gc.enable()


def test_a_stream_that_ended_at_once_holds_no_place() -> None:
    async def scenario() -> None:
        limits = Limits(lambda _: KeyLimits(concurrent_streams=1), Clock())
        stream, source = await begin(make_hub(), principal="ann")
        source.end()
        limits.admit("ann").begun(stream)
        assert refusal(limits) is None

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_longest_answer(name: str) -> None:
    limits = Limits(lambda _: KeyLimits(max_output_tokens=100))
    assert limits.capped(None, ASKED).options == {"max_tokens": 100}

    def asked(tokens: int | None) -> GenerationRequest:
        return GenerationRequest(messages=ASKED.messages, options={name: tokens})

    assert limits.capped(None, asked(100)).options == {name: 100}
    assert limits.capped(None, asked(None)).options["max_tokens"] == 100
    with pytest.raises(
        RequestError, match="At most 100 output tokens may be asked for here, not 101"
    ):
        limits.capped(None, asked(101))


def test_idle_principals_are_forgotten() -> None:
    clock = Clock()
    limits = Limits(lambda _: KeyLimits(requests_per_minute=60), clock)
    for number in range(5000):
        clock.now += 0.1
        limits.admit(f"user-{number}").unused()
    # A second's worth of them has not filled up again.
    assert len(limits._accounts) <= 20
