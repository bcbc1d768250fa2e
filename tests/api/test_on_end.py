"""`on_end`: told once of every end there is."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest

from headwater import Headwater
from headwater.events import ReasoningDelta, TextDelta
from headwater.events.snapshot import Snapshot
from headwater.requests.options import ResponseOptions
from headwater.requests.parsing import parse
from headwater.requests.pipeline import begin
from tests.helpers.polling import eventually_async

BOUND_S = 10.0


class Heard:
    """What was told, and when enough was."""

    def __init__(self) -> None:
        self.ends: list[Snapshot] = []
        self._come = asyncio.Event()

    async def later(self, end: Snapshot) -> None:
        self.ends.append(end)
        self._come.set()

    async def one(self) -> Snapshot:
        """The one end; a second would come at once after the first."""
        async with asyncio.timeout(BOUND_S):
            await self._come.wait()
        await asyncio.sleep(0.05)
        [end] = self.ends
        return end


async def say(*items: Any) -> AsyncIterator[Any]:
    for item in items:
        await asyncio.sleep(0)
        if isinstance(item, Exception):
            raise item
        yield item


async def for_ever() -> AsyncIterator[str]:
    while True:
        yield "x"
        await asyncio.sleep(0.01)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


@pytest.mark.parametrize("store", ["memory://", "sqlite:///s.db"])
@pytest.mark.parametrize("how", ["end", "error", "stop", "left", "gone"])
def test_once_whatever_the_end(
    how: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def scenario() -> None:
        heard, everyone = Heard(), Heard()
        hw = Headwater(store=store, on_end=everyone.later)
        runtime = hw.runtime()
        generator = {
            "end": say(ReasoningDelta("Hm."), "It is ", "light."),
            "error": say("It is ", RuntimeError("secret")),
            "gone": say("It is ", "light."),
        }.get(how, for_ever())
        options: ResponseOptions = {
            "principal": "me",
            "on_disconnect": 0.05 if how == "left" else "continue",
            "on_end": heard.later,
            "metadata": {"chat": "7"},
        }
        stream = await begin(runtime, parse(generator, options))
        if how == "left":
            async for _ in stream.events():
                break
        if how == "stop":
            async for event in stream.events():
                if isinstance(event, TextDelta):
                    break
            await hw.stop(stream.id, principal="me")
        end = await heard.one()
        assert (end.stream, end.principal, end.metadata) == (stream.id, "me", {"chat": "7"})
        assert end.timing is not None
        if how in ("end", "gone"):
            assert (end.text, end.reason) == ("It is light.", "stop")
        elif how == "error":
            assert (end.text, end.error and end.error.code) == ("It is ", "internal")
        else:
            assert (end.status, end.text.strip("x")) == ("cancelled", "")
        assert end.reasoning == ("Hm." if how == "end" else "")
        assert await everyone.one() is end
        await hw.aclose()

    run(scenario())


def test_a_plain_function_may_block_and_one_that_raises_harms_nobody() -> None:
    async def scenario() -> None:
        threads: list[str] = []
        told = threading.Event()

        def block(end: Snapshot) -> None:
            threads.append(threading.current_thread().name)
            told.set()
            raise RuntimeError("the database is down")

        hw = Headwater()
        runtime = hw.runtime()
        await begin(runtime, parse(say("a"), {"on_disconnect": "continue", "on_end": block}))
        await asyncio.to_thread(told.wait, BOUND_S)
        assert threads
        assert threads[0] != threading.current_thread().name
        await hw.aclose()  # waits for it

    run(scenario())


def test_what_was_told_of_is_waited_for_at_shutdown() -> None:
    async def scenario() -> None:
        saved: list[str] = []

        async def save(end: Snapshot) -> None:
            await asyncio.sleep(0.1)
            saved.append(end.text)

        hw = Headwater(on_end=save)
        async for _ in hw.stream(say("a", "b")):
            pass
        await hw.aclose()
        assert saved == ["ab"]

    run(scenario())


def test_as_a_context_it_finishes_what_runs() -> None:
    async def scenario() -> None:
        heard = Heard()
        async with Headwater(on_end=heard.later) as hw:
            await begin(hw.runtime(), parse(say("a", "b"), {"on_disconnect": "continue"}))
        [end] = heard.ends
        assert (end.text, end.reason) == ("ab", "stop")

    run(scenario())


def test_kill_9_and_recovery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that takes over tells of it: of what it ends itself, once."""
    monkeypatch.setenv("HEADWATER_STORE__LEASE_S", "1")

    async def scenario() -> None:
        url = f"sqlite:///{tmp_path}/s.db"
        writer = (
            "import asyncio\nfrom headwater import Headwater\n"
            "async def main():\n"
            f"    hw = Headwater(store={url!r})\n"
            "    async with hw.start(principal='me', metadata={'chat': '7'}) as s:\n"
            "        await s.text('It is ')\n"
            "        print(s.id, flush=True)\n"
            "        await asyncio.sleep(60)\n"
            "asyncio.run(main())\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", writer], stdout=subprocess.PIPE, cwd=tmp_path
        )
        try:
            assert process.stdout is not None
            stream = (await asyncio.to_thread(process.stdout.readline)).decode().strip()
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        heard, other = Heard(), Heard()
        hws = [Headwater(store=url, on_end=each.later) for each in (heard, other)]
        async with hws[0], hws[1], asyncio.timeout(BOUND_S):
            await eventually_async(lambda: heard.ends or other.ends)
            for each in hws:  # one round more: a second end would be found in it
                await each.runtime().hub._membership._leases.round()
        [end] = heard.ends + other.ends
        assert (end.stream, end.text, end.principal) == (stream, "It is ", "me")
        assert (end.error and end.error.code, end.metadata) == ("interrupted", {"chat": "7"})

    run(scenario())
