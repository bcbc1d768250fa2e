"""Streams that are written piece by piece, read and stopped from elsewhere, drained."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from headwater import Headwater
from headwater.errors import HeadwaterError, StoppedError
from headwater.events import StreamEnd, TextDelta, Usage
from headwater.requests.parsing import parse
from headwater.requests.pipeline import begin
from headwater.testing import STALL, Answer, FaultyUpstream, chunk
from tests.helpers.arrivals import request
from tests.helpers.processes import environment, line_matching, stopped_at_the_end
from tests.server.serving import Reader, Served, ask, ids
from tests.server.wires import outcome, text_of

BOUND_S = 10.0
ROOT = Path(__file__).parents[2]


def test_with_a_coroutine() -> None:
    async def scenario() -> None:
        hw = Headwater()
        async with hw.start(principal="me", metadata={"job": "1"}) as s:
            await s.reasoning("Hm.")
            await s.text("It is ")
            await s.write("light.")
            s.end("length", Usage(3, 4))
        record, _ = await hw.runtime().hub.find(s.id, "me")
        snapshot = await hw.runtime().hub.snapshot(record)
        assert (snapshot.text, snapshot.reasoning) == ("It is light.", "Hm.")
        assert (snapshot.reason, snapshot.usage) == ("length", Usage(3, 4))
        assert (snapshot.principal, snapshot.metadata) == ("me", {"job": "1"})
        await hw.aclose()

    asyncio.run(scenario())


def test_from_a_thread_without_a_loop() -> None:
    hw = Headwater()
    with hw.start() as s:
        s.text("It is ")
        s.reasoning("(thinking)")
        s.write("light.")
        s.end()
    events = []
    bridge = hw.bridge()

    async def read() -> None:
        record, _ = await hw.runtime().hub.find(s.id, None)
        events.append((await hw.runtime().hub.snapshot(record)).text)

    bridge.call(read)
    assert events == ["It is light."]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RuntimeError("secret"), "internal", "Whoever wrote this stream failed."),
        (HeadwaterError("upstream_error", "It rains."), "upstream_error", "It rains."),
    ],
)
def test_an_exception_ends_it_in_error(error: Exception, code: str, message: str) -> None:
    async def scenario() -> None:
        hw = Headwater()
        begun = hw.start()
        s = await begun.__aenter__()
        await s.text("a")
        assert not await begun.__aexit__(type(error), error, None)  # it goes on to the caller
        record, _ = await hw.runtime().hub.find(s.id, None)
        failure = (await hw.runtime().hub.snapshot(record)).error
        assert failure is not None
        assert (failure.code, failure.message) == (code, message)
        await hw.aclose()

    asyncio.run(scenario())


def test_who_writes_hears_of_the_stop() -> None:
    async def scenario() -> None:
        hw = Headwater()
        said = 0
        async with asyncio.timeout(BOUND_S):
            async with hw.start() as s:
                while True:
                    await s.text("x")
                    said += 1
                    if said == 10:
                        await hw.stop(s.id)
        assert said == 10
        assert s.stopped
        with pytest.raises(StoppedError):
            await s.text("too late")
        await hw.aclose()

    asyncio.run(scenario())


def test_the_sync_twin_gives_the_same_events_and_frees_what_is_left() -> None:
    hw = Headwater()
    closed = threading.Event()

    def agent() -> Iterator[str]:
        try:
            for number in range(1_000_000):
                yield str(number)
        finally:
            closed.set()

    events = hw.stream_sync(agent())
    texts = []
    for event in events:
        if isinstance(event, TextDelta):
            texts.append(event.text)
        if len(texts) == 3:
            break
    events.close()  # type: ignore[attr-defined]
    assert texts == ["0", "1", "2"]
    assert closed.wait(BOUND_S)
    whole = list(hw.stream_sync(iter(["a", "b"])))
    assert [event.text for event in whole if isinstance(event, TextDelta)] == ["a", "b"]
    assert isinstance(whole[-1], StreamEnd)


WAITS = """
import sys
from headwater import Headwater

try:
    for event in Headwater(upstream=sys.argv[1]).stream_sync("hi", model="m"):
        print(type(event).__name__, flush=True)
except KeyboardInterrupt:
    print("broken off", flush=True)
sys.stdin.read()
"""


def test_ctrl_c_in_the_sync_twin_is_what_it_is_and_frees_the_upstream() -> None:
    with FaultyUpstream(Answer([chunk({"content": "a"}), STALL])) as upstream:
        process = subprocess.Popen(
            [sys.executable, "-c", WAITS, upstream.url],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        with stopped_at_the_end(process):
            line_matching(process, "TextDelta", BOUND_S)
            time.sleep(0.1)  # it waits for the next by then
            process.send_signal(signal.SIGINT)
            line_matching(process, "^broken off$", BOUND_S)
            upstream.wait(lambda: upstream.posts[0].hung_up_at is not None, BOUND_S)
            assert upstream.posts[0].hung_up_at is not None
            assert process.poll() is None


def test_drain_takes_no_more_and_waits(tmp_path: Path) -> None:
    async def scenario() -> None:
        hw = Headwater()
        gate = asyncio.Event()

        async def agent() -> AsyncIterator[str]:
            yield "a"
            await gate.wait()
            yield "b"

        stream = await begin(hw.runtime(), parse(agent(), {"on_disconnect": "continue"}))
        draining = asyncio.create_task(hw.drain(BOUND_S))
        await asyncio.sleep(0.05)
        assert not draining.done()
        with pytest.raises(HeadwaterError, match="stopping"):
            async with hw.start():
                pass
        gate.set()
        await draining
        record, _ = await hw.runtime().hub.find(stream.id, None)
        assert (await hw.runtime().hub.snapshot(record)).text == "ab"
        await hw.aclose()

    asyncio.run(scenario())


APP = """
import asyncio, os
from fastapi import FastAPI
from headwater import Headwater
from headwater.requests.options import ResponseOptions
from headwater.requests.parsing import parse
from headwater.requests.pipeline import begin

hw = Headwater(store=os.environ["STORE"], signals=True)
app = FastAPI()

async def slowly():
    for number in range(5):
        yield str(number)
        await asyncio.sleep(0.2)

@app.post("/stream")
async def stream():
    return hw.response(slowly(), on_disconnect="continue")

@app.get("/answers/{stream}")
async def answer(stream: str):
    return hw.resume(stream)
"""

JOB = """
import sys
from headwater import Headwater
from headwater.requests.options import ResponseOptions
from headwater.requests.parsing import parse
from headwater.requests.pipeline import begin

hw = Headwater(store=sys.argv[1])
with hw.start() as s:
    print(s.id, flush=True)
    for line in sys.stdin:
        s.text(line)
"""


@pytest.fixture
def app(tmp_path: Path) -> object:
    (tmp_path / "app.py").write_text(APP)
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app:app", "--port", "0"],
        cwd=tmp_path,
        env=environment(STORE=f"sqlite:///{tmp_path}/s.db", PYTHONPATH=str(tmp_path)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with stopped_at_the_end(process):
        served = Served(process)
        served.port = int(served.line(r"running on http://127.0.0.1:(\d+)")[1])
        yield served


@pytest.mark.system
def test_a_worker_writes_and_the_app_reads(app: Served, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(JOB)
    url = f"sqlite:///{tmp_path}/s.db"
    job = subprocess.Popen(
        [sys.executable, "job.py", url],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert job.stdin is not None
    assert job.stdout is not None
    with job:
        stream = job.stdout.readline().strip()
        job.stdin.write("one\n")
        job.stdin.flush()
        job.stdin.write("two\n")
        job.stdin.close()
        body = ask(app.port, f"/answers/{stream}").body
        assert text_of("plain", body) == "one\ntwo\n"
        position = ids(body)[0]
        rest = ask(app.port, f"/answers/{stream}", headers={"Last-Event-ID": position}).body
        assert body.endswith(rest)
        assert (
            text_of("native", ask(app.port, f"/answers/{stream}?wire=native").body) == "one\ntwo\n"
        )
        assert ask(app.port, "/answers/none").status == 404
    assert job.returncode == 0


@pytest.mark.system
def test_sigterm_lets_the_answer_finish(app: Served) -> None:
    reader = Reader(request(app.port, "/stream", {}, timeout_s=BOUND_S))
    reader.until(b'"0"')
    app.process.terminate()
    body = reader.rest()
    assert (text_of("plain", body), outcome("plain", body)) == ("01234", "done")
    app.wait(BOUND_S)
