from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.cli.answer import duration
from headwater.testing import (
    CUT,
    DONE,
    STALL,
    Answer,
    Request,
    Step,
    chat,
    chunk,
    event,
    reply,
)
from headwater.testing import (
    FaultyUpstream as Upstream,
)
from tests.helpers.arrivals import token_times
from tests.helpers.processes import HEADWATER, environment, headwater_serve, stopped_at_the_end

pytestmark = pytest.mark.system

SUMMARY = re.compile(r"first token [\d.]+ m?s · total [\d.]+ m?s( · \d+ tokens/s)?( · .*)?\n")


@contextlib.contextmanager
def asking(upstream: Upstream, where: str, cwd: Path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Give the command and the environment to ask in process, or through a server."""
    environ = {"HEADWATER_SERVER__UPSTREAM": upstream.url}
    if where == "process":
        yield [HEADWATER, "ask", "hi"], environment(**environ)
        return
    with headwater_serve(cwd=cwd, environ=environ) as port:
        yield [HEADWATER, "ask", "hi", "--server", f"http://127.0.0.1:{port}"], environment()


def ask(
    answer: Answer, where: str, cwd: Path, *arguments: str
) -> tuple[subprocess.CompletedProcess[str], list[Request]]:
    with Upstream(answer) as upstream, asking(upstream, where, cwd) as (command, env):
        done = subprocess.run(
            [*command, *arguments],
            env=env,
            cwd=cwd,
            timeout=60,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return done, upstream.posts


BOTH = pytest.mark.parametrize("where", ["process", "server"])
USAGE = {"prompt_tokens": 3, "completion_tokens": 21, "total_tokens": 24}


@BOTH
@pytest.mark.parametrize("flag", [[], ["--no-stream"]])
def test_an_answer_and_its_times(where: str, flag: list[str], tmp_path: Path) -> None:
    answer = chat(["Hel", "lo ", "é"], gap_s=0.05, usage=USAGE)
    done, [post] = ask(answer, where, tmp_path, *flag)
    assert (done.returncode, done.stdout) == (0, "Hello é\n")
    assert SUMMARY.fullmatch(done.stderr), done.stderr
    speed = re.search(r"(\d+) tokens/s", done.stderr)
    # 20 tokens in the two gaps after the first: about 200 a second on a machine that is idle.
    assert speed is not None
    assert 20 < int(speed[1]) < 400
    assert post.json["messages"] == [{"role": "user", "content": "hi"}]
    assert post.json["stream"] is True


@BOTH
def test_tokens_show_at_once_and_no_stream_waits(where: str, tmp_path: Path) -> None:
    answer = chat([f"{n}\n" for n in range(5)], gap_s=0.1)
    with Upstream(answer) as upstream, asking(upstream, where, tmp_path) as (command, env):
        for flag, live in ([], True), (["--no-stream"], False):
            process = subprocess.Popen(
                [*command, *flag],
                env=env,
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            with stopped_at_the_end(process):
                assert process.stdout is not None
                first = os.read(process.stdout.fileno(), 65536)
                arrived = time.monotonic()
                rest = process.stdout.read()
            last_sent = token_times(upstream)[-1]
            assert first + rest == b"0\n1\n2\n3\n4\n"
            assert (arrived < last_sent) == live


KEY = "sk-proj-0123456789abcdef"
FAILURES: list[tuple[str, Answer, str]] = [
    ("cut", Answer([chunk({"content": "abc"}), 0.3, CUT]), "abc\n"),
    ("no finish", chat(["abc"], finish=None, done=False), "abc\n"),
    ("error in the stream", Answer([event({"error": {"message": f"bad key {KEY}"}}), DONE]), ""),
    ("401", reply(401, {"error": {"message": f"bad key {KEY}"}}), ""),
]


@BOTH
@pytest.mark.parametrize(
    ("answer", "shown"), [f[1:] for f in FAILURES], ids=[f[0] for f in FAILURES]
)
def test_a_failure_keeps_the_text_and_says_why(
    where: str, answer: Answer, shown: str, tmp_path: Path
) -> None:
    done, _ = ask(answer, where, tmp_path)
    assert (done.returncode, done.stdout) == (1, shown)
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert KEY not in done.stderr


@BOTH
@pytest.mark.parametrize(
    ("finish", "note"), [("length", "cut at the longest"), ("content_filter", "content filter")]
)
def test_an_answer_that_did_not_end_by_itself(
    where: str, finish: str, note: str, tmp_path: Path
) -> None:
    done, _ = ask(chat(["a"], finish=finish), where, tmp_path)
    assert (done.returncode, done.stdout) == (0, "a\n")
    assert note in done.stderr


@BOTH
def test_ctrl_c_stops_the_stream(where: str, tmp_path: Path) -> None:
    answer = Answer([chunk({"content": "abc"}), STALL])
    with Upstream(answer) as upstream, asking(upstream, where, tmp_path) as (command, env):
        process = subprocess.Popen(
            command,
            env=env,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with stopped_at_the_end(process):
            assert process.stdout is not None
            assert process.stderr is not None
            assert os.read(process.stdout.fileno(), 100) == b"abc"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
            assert process.stderr.read().strip() == b""
        # By the stop, not by the 30 s that a stream without a reader goes on.
        upstream.wait(lambda: upstream.posts[0].hung_up_at is not None, timeout_s=10)


@BOTH
def test_a_closed_pipe_is_quiet(where: str, tmp_path: Path) -> None:
    answer = chat(["a\n"] * 500, gap_s=0.01)
    with Upstream(answer) as upstream, asking(upstream, where, tmp_path) as (command, env):
        process = subprocess.Popen(
            command,
            env=env,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with stopped_at_the_end(process):
            assert process.stdout is not None
            assert process.stderr is not None
            os.read(process.stdout.fileno(), 2)
            process.stdout.close()
            assert process.wait(10) == 1
            assert process.stderr.read() == b""
        upstream.wait(lambda: upstream.posts[0].hung_up_at is not None, timeout_s=10)


REASONED = Answer(
    [
        chunk({"reasoning_content": "hmm"}),
        chunk({"content": "a\x1b]0;title\x07\tb\nc"}),
        chunk({}, "stop"),
        DONE,
    ]
)


def test_a_terminal_shows_reasoning_dimmed_and_obeys_nothing(tmp_path: Path) -> None:
    with Upstream(REASONED) as upstream, asking(upstream, "process", tmp_path) as (command, env):
        main, terminal = pty.openpty()
        done = subprocess.run(
            command, env=env, cwd=tmp_path, stdout=terminal, stderr=subprocess.DEVNULL, check=True
        )
        os.close(terminal)
        shown = os.read(main, 65536).decode().replace("\r\n", "\n")
        os.close(main)
    assert done.returncode == 0
    assert shown == "\x1b[2mhmm\x1b[0m\n\na\ufffd]0;title\ufffd\tb\nc\n"


def test_a_pipe_gets_the_answer_and_nothing_else(tmp_path: Path) -> None:
    done, _ = ask(REASONED, "process", tmp_path)
    assert done.stdout == "a\x1b]0;title\x07\tb\nc\n"


def test_what_is_piped_in_is_the_prompt(tmp_path: Path) -> None:
    with Upstream(chat(["ok"])) as upstream:
        env = environment(HEADWATER_SERVER__UPSTREAM=upstream.url)
        subprocess.run(
            [HEADWATER, "ask"], env=env, cwd=tmp_path, input=b"two\nlines\n", check=True,
            capture_output=True, timeout=60,
        )  # fmt: skip
        assert upstream.posts[0].json["messages"][0]["content"] == "two\nlines\n"


def native(*events: dict[str, object]) -> list[Step]:
    return [
        b"id: 1-%d\ndata: %b\n\n" % (seq, json.dumps(event).encode())
        for seq, event in enumerate(events, 1)
    ]


TIMING = {"queue": 0, "connect": 1, "first_token": 1, "total": 2, "overhead": 0, "attempts": 1}
EVENTS: list[dict[str, object]] = [
    {"type": "stream-start", "stream": "s1", "model": "m", "created": 1},
    {"type": "text-delta", "text": "one "},
    {"type": "text-delta", "text": "two "},
    {"type": "text-delta", "text": "three"},
    {"type": "stream-end", "reason": "stop", "usage": None, "timing": TIMING},
]
HEADERS = (("Content-Type", "text/event-stream"), ("Headwater-Stream", "s1"))


def test_a_cut_connection_is_resumed_where_it_was_cut(tmp_path: Path) -> None:
    frames = native(*EVENTS)
    half = frames[3]
    assert isinstance(half, bytes)

    def answer(request: Request) -> Answer:
        if request.method == "POST":
            return Answer([*frames[:3], half[:20], 0.2, CUT], headers=HEADERS)
        if "once" not in seen:
            seen.append("once")
            return reply(503, {"error": {"code": "overloaded", "message": "busy"}})
        return Answer(frames[3:], headers=HEADERS)

    seen: list[str] = []
    with Upstream(answer) as server:
        command = [HEADWATER, "ask", "hi", "--server", f"http://127.0.0.1:{server.port}/base/"]
        done = subprocess.run(
            command, env=environment(HEADWATER_API_KEY="k"), cwd=tmp_path, check=False,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "one two three\n")
    asked = [(r.method, r.path, r.headers.get("last-event-id")) for r in server.requests]
    assert asked == [
        ("POST", "/base/v1/streams", None),
        ("GET", "/base/v1/streams/s1", "1-3"),
        ("GET", "/base/v1/streams/s1", "1-3"),
    ]
    assert {r.headers["authorization"] for r in server.requests} == {"Bearer k"}


@pytest.mark.parametrize("command", [["ask", "hi"], ["tail", "s1"], ["tail", "s1", "--json"]])
def test_an_error_of_a_newer_server_is_named(command: list[str], tmp_path: Path) -> None:
    failed = {"type": "stream-error", "code": "quota_gone", "message": "No more.", "retryable": False, "usage": None, "timing": None}  # fmt: skip
    answer = Answer(native(*EVENTS[:3], failed), headers=HEADERS)
    with Upstream(lambda _: answer) as server:
        done = subprocess.run(
            [HEADWATER, *command, "--server", f"http://127.0.0.1:{server.port}"],
            env=environment(), cwd=tmp_path, check=False,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "Error: No more. ('quota_gone')\n"


def test_a_server_that_is_lost_is_given_up(tmp_path: Path) -> None:
    def answer(request: Request) -> Answer:
        if request.method == "POST":
            return Answer([*native(*EVENTS)[:3], 0.2, CUT], headers=HEADERS)
        return reply(404, {"error": {"code": "not_found", "message": "There is no such stream."}})

    with Upstream(answer) as server:
        done = subprocess.run(
            [HEADWATER, "ask", "hi", "--server", f"http://127.0.0.1:{server.port}"],
            env=environment(), cwd=tmp_path, check=False,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "one two \n")
    assert done.stderr == "Error: There is no such stream.\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ms"), (0.0842, "84 ms"), (0.9994, "999 ms"), (0.9996, "1.0 s"), (1.24, "1.2 s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
