"""`headwater record` and `headwater replay`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import events as ev
from headwater.providers.tape import read
from headwater.providers.tape.shipped import FOLDER
from headwater.testing import (
    CUT,
    DONE,
    STALL,
    Answer,
    Fault,
    FaultyProxy,
    FaultyUpstream,
    Request,
    chunk,
    reply,
)
from tests.cli.test_ask import EVENTS, HEADERS, SUMMARY, native
from tests.helpers.processes import HEADWATER, environment, headwater_serve, stopped_at_the_end
from tests.server.serving import ask

pytestmark = pytest.mark.system

STORY = [event for _, event in read(FOLDER / "story.tape")]
TEXT = "".join(event.text for event in STORY if isinstance(event, ev.TextDelta))


def headwater(
    *arguments: str | Path, cwd: Path, **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HEADWATER, *map(str, arguments)],
        cwd=cwd,
        env=environment(**environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


def files(folder: Path) -> list[str]:
    """All that is left in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def content(path: Path) -> list[ev.Event]:
    """The events of a tape but the first and the terminal one."""
    return [e for _, e in read(path) if not isinstance(e, ev.StreamStart | ev.Terminal)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with headwater_serve(cwd=tmp_path_factory.mktemp("served")) as port:
        yield port


@pytest.mark.parametrize("where", ["process", "server"])
def test_what_is_recorded_is_replayed(where: str, server: int, tmp_path: Path) -> None:
    given = ["--server", f"http://127.0.0.1:{server}"] if where == "server" else []
    model = "tape/reasoning?speed=max"
    done = headwater("record", "hi", "-o", "a.tape", "--model", model, *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    count, summary = done.stderr.split("\n", 1)
    assert count.startswith(f"a.tape: {len(read(tmp_path / 'a.tape'))} events over ")
    assert SUMMARY.fullmatch(summary)
    assert content(tmp_path / "a.tape") == content(FOLDER / "reasoning.tape")
    assert files(tmp_path) == ["a.tape"]

    again = headwater("replay", "a.tape", "--speed", "1000", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert SUMMARY.fullmatch(again.stderr)


def test_times_are_those_of_arrival(tmp_path: Path) -> None:
    together = chunk({"content": "a"}) + chunk({"content": "b"})
    answer = Answer([together, 0.2, chunk({"content": "c"}), chunk({}, "stop"), DONE])
    with FaultyUpstream(answer) as upstream:
        environ = {"HEADWATER_SERVER__UPSTREAM": upstream.url}
        done = headwater("record", "hi", "-o", "a.tape", cwd=tmp_path, **environ)
    assert done.stdout == "abc\n"
    lines = read(tmp_path / "a.tape")
    assert [type(event).__name__ for _, event in lines[:2]] == ["StreamStart", "TextDelta"]
    a, b, c = (at for at, event in lines if isinstance(event, ev.TextDelta))
    assert a == b < c
    assert "hi" not in (tmp_path / "a.tape").read_text()  # the prompt is not on it


def test_replay_prints_events_as_json(tmp_path: Path) -> None:
    done = headwater("replay", "tape/story", "--speed", "max", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0] | {"stream": "", "created": 0} == {
        "type": "stream-start", "stream": "", "model": "tape/story", "created": 0,
    }  # fmt: skip
    assert events[1:-1] == [json.loads(ev.encode(event)) for event in STORY[:-1]]
    assert events[-1]["type"] == "stream-end"


FAULTS: list[tuple[str, int, str]] = [
    ("refuse", 0, "tape failed (HTTP 503)."),
    ("cut=30", 30, "tape broke off before the end of the answer."),
    ("error=2", 2, "tape failed."),
    ("stall=5", 5, "The provider was silent for 0.3 s."),
    ("malformed=1", 1, "tape sent something that is not JSON."),
]


@pytest.mark.parametrize(("fault", "count", "says"), FAULTS, ids=[f[0] for f in FAULTS])
@pytest.mark.parametrize("flag", [[], ["--json"]], ids=["text", "json"])
def test_replay_puts_a_fault_in(
    flag: list[str], fault: str, count: int, says: str, tmp_path: Path
) -> None:
    arguments = ["replay", "story", "--speed", "max", "--fault", fault, *flag]
    done = headwater(*arguments, cwd=tmp_path, HEADWATER_TIMEOUTS__IDLE_S="0.3")
    assert (done.returncode, done.stderr) == (1, f"Error: {says}\n")
    if flag:
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(events) == count + 2
        assert events[-1]["type"] == "stream-error"
    else:
        text = "".join(e.text for e in STORY[:count] if isinstance(e, ev.TextDelta))
        assert done.stdout == (text + "\n" if text else "")


def test_a_failure_is_a_tape_too(tmp_path: Path) -> None:
    with FaultyUpstream(Answer([chunk({"content": "abc"}), 0.2, CUT])) as upstream:
        environ = {"HEADWATER_SERVER__UPSTREAM": upstream.url}
        done = headwater("record", "hi", "-o", "a.tape", cwd=tmp_path, **environ)
    assert (done.returncode, done.stdout) == (1, "abc\n")
    assert done.stderr.startswith("a.tape: 3 events over ")
    end = read(tmp_path / "a.tape")[-1][1]
    assert isinstance(end, ev.StreamError)
    assert end.code == "truncated"
    again = headwater("replay", "a.tape", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (1, "abc\n")
    assert again.stderr == f"Error: {end.message}\n"


def cut_in_the_middle(*, comes_back: bool) -> Any:
    """A server of the native wire whose connection breaks inside an event."""
    frames = native(*EVENTS)
    half = frames[3]
    assert isinstance(half, bytes)

    def answer(request: Request) -> Answer:
        if request.method == "POST":
            return Answer([*frames[:3], half[:20], 0.2, CUT], headers=HEADERS)
        if not comes_back:
            return reply(404, {"error": {"code": "not_found", "message": "It is gone."}})
        return Answer(frames[3:], headers=HEADERS)

    return answer


def test_a_cut_is_not_on_the_tape(tmp_path: Path) -> None:
    with FaultyUpstream(cut_in_the_middle(comes_back=True)) as server:
        url = f"http://127.0.0.1:{server.port}"
        done = headwater("record", "hi", "-o", "a.tape", "--server", url, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "one two three\n")
    events = [json.loads(ev.encode(event)) for _, event in read(tmp_path / "a.tape")]
    assert [event["type"] for event in events] == [event["type"] for event in EVENTS]
    assert content(tmp_path / "a.tape") == [ev.TextDelta(t) for t in ("one ", "two ", "three")]


@pytest.mark.parametrize("where", [200, 4000, 12_000])
def test_a_stream_cut_anywhere_is_recorded_whole(where: int, server: int, tmp_path: Path) -> None:
    with FaultyProxy(server, [Fault(after=where)]) as proxy:
        arguments = ["record", "hi", "-o", "a.tape", "--model", "tape/story?speed=20"]
        url = f"http://127.0.0.1:{proxy.port}"
        done = headwater(*arguments, "--server", url, cwd=tmp_path)
        links = len(proxy.links)
    if where == 200:  # inside the head: whose stream it was is not known
        assert (done.returncode, files(tmp_path)) == (1, [])
    else:
        assert (done.returncode, done.stdout, links) == (0, TEXT, 2)
        assert content(tmp_path / "a.tape") == STORY[:-1]


def test_a_server_that_is_lost_leaves_no_tape(tmp_path: Path) -> None:
    with FaultyUpstream(cut_in_the_middle(comes_back=False)) as server:
        url = f"http://127.0.0.1:{server.port}"
        done = headwater("record", "hi", "-o", "a.tape", "--server", url, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "one two \n")
    assert done.stderr == "Error: It is gone.\n"
    assert files(tmp_path) == []


def test_ctrl_c_leaves_no_tape_and_frees_the_provider(tmp_path: Path) -> None:
    with FaultyUpstream(Answer([chunk({"content": "abc"}), STALL])) as upstream:
        process = subprocess.Popen(
            [HEADWATER, "record", "hi", "-o", "a.tape"],
            cwd=tmp_path,
            env=environment(HEADWATER_SERVER__UPSTREAM=upstream.url),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with stopped_at_the_end(process):
            assert process.stdout is not None
            assert os.read(process.stdout.fileno(), 100) == b"abc"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
        upstream.wait(lambda: upstream.posts[0].hung_up_at is not None, timeout_s=10)
    assert files(tmp_path) == []


def begin(port: int, model: str) -> str:
    """A stream that goes on without a reader."""
    from tests.helpers.arrivals import request

    headers = {"Headwater-On-Disconnect": "continue"}
    response = request(port, "/v1/streams", {"prompt": "hi", "model": model}, headers)
    response.close()
    return response.head.headers["headwater-stream"]


def test_a_stream_that_there_is_can_be_recorded(server: int, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server}"
    stream = begin(server, "tape/story?speed=20")
    done = headwater("record", "--stream", stream, "--server", url, "-o", "a.tape", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, TEXT)
    assert content(tmp_path / "a.tape") == STORY[:-1]
    unknown = headwater("record", "--stream", "a/b", "--server", url, "-o", "b.tape", cwd=tmp_path)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert files(tmp_path) == ["a.tape"]


def test_leaving_a_stream_that_is_followed_does_not_stop_it(server: int, tmp_path: Path) -> None:
    stream = begin(server, "tape/story?speed=0.1")
    process = subprocess.Popen(
        [HEADWATER, "record", "--stream", stream, "--server", f"http://127.0.0.1:{server}", "-o", "a"],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    with stopped_at_the_end(process):
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 100)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert files(tmp_path) == []
    # A stop would have been answered before the command ended.
    path = f"/v1/streams/{stream}"
    state = ask(server, path, headers={"Accept": "application/json"}).json
    assert state["status"] == "running"
    assert ask(server, path, method="DELETE").status == 204


def test_a_tape_is_replaced_only_by_force(tmp_path: Path) -> None:
    (tmp_path / "a.tape").write_text("mine")
    arguments = ["record", "hi", "-o", "a.tape", "--model", "tape/tools?speed=max"]
    done = headwater(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: a.tape is there already; --force replaces it\n"
    assert (tmp_path / "a.tape").read_text() == "mine"
    assert headwater(*arguments, "--force", cwd=tmp_path).returncode == 0
    assert content(tmp_path / "a.tape") == content(FOLDER / "tools.tape")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["record", "hi"], 2, "Missing option '-o' / '--output'"),
        (["record", "-o", "a"], 2, 'Try: headwater record "Why is the sky blue?" -o sky.tape'),
        (["record", "-o", "a", "--stream", "x"], 2, "--stream goes with --server"),
        (["record", "hi", "-o", "a", "--stream", "x", "--server", "http://h"], 2, "without a prompt"),
        (["record", "hi", "-o", "."], 2, ". is not a file"),
        (["record", "hi", "-o", "no/a"], 2, "cannot write no/a: No such file or directory"),
        (["record", "hi", "-o", "a", "--model", "nope"], 1, "There is no model 'nope'"),
        (["record", "hi", "-o", "a", "--model", "tape/story?x"], 1, "'x' is no option of a tape"),
        (["record", "hi", "-o", "a", "--server", "h:1"], 2, "--server must be a URL such as"),
        (["replay"], 2, "Missing argument 'FILE'"),
        (["replay", "sotry"], 2, "There is no file sotry; of the tapes we ship, nearest are story"),
        (["replay", "not.tape"], 2, "not.tape is not a tape: line 1: "),
        (["replay", "story", "--speed", "0"], 2, "--speed must be a number from 0.01 to 1000"),
        (["replay", "story", "--fault", "cut"], 2, "--fault: cut wants the number of events"),
        (["replay", "story", "--fault", "brake=3"], 2, "there is no fault 'brake': use one of"),
        (["replay", "story", "--fault", "refuse", "--fault", "cut=1"], 2, "one fault"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_and_leaves_nothing(
    arguments: list[str], status: int, message: str, tmp_path: Path
) -> None:
    (tmp_path / "not.tape").write_text("data: hello\n")
    done = headwater(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert files(tmp_path) == ["not.tape"]
