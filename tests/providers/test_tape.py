"""A tape: what was recorded, with its timings, through the same path as any provider."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headwater.errors import ConfigurationError
from headwater.events import StreamEnd, StreamError, TextDelta, Usage, encode
from headwater.generation import GenerationRequest
from headwater.providers.tape import TapeProvider, read
from headwater.runtime import WIRES
from tests.helpers.hub import BucketSink, make_hub, settle

LINES = [
    b'[0, {"type":"stream-start","stream":"s","model":"m","created":1}]',
    b'[20, {"type":"text-delta","text":"The"}]',
    b'[20, {"type":"text-delta","text":" sky"}]',
    b'[60, {"type":"text-delta","text":" is blue."}]',
]
END = (
    b'[60, {"type":"stream-end","reason":"stop","usage":{"input_tokens":3,"output_tokens":4},'
    b'"timing":{"queue":0,"connect":null,"first_token":20,"total":60,"overhead":0,"attempts":1}}]'
)
FAILED = (
    b'[60, {"type":"stream-error","code":"truncated","message":"cut","retryable":true,"usage":null,'
    b'"timing":{"queue":0,"connect":null,"first_token":20,"total":60,"overhead":0,"attempts":1}}]'
)


def tape(folder: Path, *lines: bytes) -> Path:
    path = folder / "answer.tape"
    path.write_bytes(b"\n".join(lines))
    return path


def play(path: Path, speed: float) -> tuple[bytes, float]:
    """The native frames of a playing, and the seconds it took."""

    async def run() -> tuple[bytes, float]:
        loop = asyncio.get_running_loop()
        hub, sink, began = make_hub(), BucketSink(), loop.time()
        source = TapeProvider(read(path), speed=speed).source(
            GenerationRequest(messages=[{"role": "user", "content": "?"}]), "m"
        )
        stream = await hub.start(source, model="m", principal="me", on_disconnect="cancel")
        hub.read(stream.id, WIRES["native"], sink)
        async with asyncio.timeout(10):
            while not sink.closed:
                await asyncio.sleep(0.001)
        await settle(lambda: sink.closed)
        return sink.data, loop.time() - began

    return asyncio.run(run())


def test_a_tape_is_played_whole_and_in_its_time(tmp_path: Path) -> None:
    path = tape(tmp_path, *LINES, END)
    data, took = play(path, 1.0)
    for event in (TextDelta("The"), TextDelta(" sky"), TextDelta(" is blue.")):
        assert data.count(encode(event)) == 1
    assert data.count(b'"stream-end"') == 1
    assert b'"output_tokens":4' in data
    assert took >= 0.06  # not sooner than it was recorded
    assert play(path, 1000.0)[0].count(b"\n\n") == data.count(b"\n\n")


def test_a_recorded_failure_fails_again(tmp_path: Path) -> None:
    data, _ = play(tape(tmp_path, *LINES, FAILED), 1000.0)
    assert data.count(b'"stream-error"') == 1
    assert b'"code":"truncated"' in data


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ((), "not a tape"),
        (LINES, "last line is not a terminal event"),
        ((b"not json", END), "not a tape"),
        ((b'[0, {"type":"unknown"}]', END), "not a tape"),
    ],
)
def test_what_is_not_a_tape(tmp_path: Path, lines: tuple[bytes, ...], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        read(tape(tmp_path, *lines))


def test_a_tape_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read(tmp_path / "none")


def test_reading_gives_events(tmp_path: Path) -> None:
    times = [at for at, _ in read(tape(tmp_path, *LINES, END))]
    assert times == [0, 20, 20, 60, 60]
    end = read(tape(tmp_path, *LINES, END))[-1][1]
    assert isinstance(end, StreamEnd)
    assert end.usage == Usage(3, 4)
    assert isinstance(read(tape(tmp_path, *LINES, FAILED))[-1][1], StreamError)
