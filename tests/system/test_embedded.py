from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.sse import Decoder
from tests.conftest import Figures
from tests.helpers.arrivals import Response, events, request, status
from tests.helpers.polling import eventually
from tests.helpers.processes import HEADWATER, environment
from tests.helpers.servers import Server, is_running, serve

# An answer may fill the model's 2,048 tokens, which takes most of a minute on one core.
pytestmark = [
    pytest.mark.system,
    pytest.mark.usefixtures("embedded"),
    pytest.mark.timeout(300),
]

PROMPT = "Why is the sky blue?"
LONG = "Write a long story about a river, from its spring to the sea."
TIMES = r"^first token \d+(\.\d)? m?s · total \d+(\.\d)? m?s( · \d+ tokens/s)?( · .*)?$"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serve(cwd=tmp_path) as running:
        yield running


def ask(*arguments: str, cwd: Path, timeout_s: float = 200) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HEADWATER, "ask", *arguments],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def curl(port: int, body: str) -> tuple[float, list[tuple[float, bytes]]]:
    """What a user types: the moment it was asked, and the data of each event with its time."""
    command = ["curl", "-N", "-sS", "-X", "POST", f"http://127.0.0.1:{port}/stream", "-d", body]
    decoder, seen = Decoder(), []
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        while data := os.read(process.stdout.fileno(), 65536):
            now = time.monotonic()
            seen += [(now, message.data) for message in decoder.feed(data)]
    assert process.returncode == 0
    return began, seen


def the_child(server: Server) -> int:
    [child] = server.children()
    return child


def start_answer(
    server: Server, path: str = "/v1/streams"
) -> Iterator[tuple[float, dict[str, str]]]:
    """A long answer whose first pieces are here."""
    response: Response = request(server.port, path, {"prompt": LONG, "temperature": 0})
    arriving = iter(events(response))
    head = list(itertools.islice(arriving, 5))
    assert len(head) == 5
    return itertools.chain(head, arriving)


def test_it_is_ready_without_starting_the_model(server: Server) -> None:
    assert status(server.port, "/readyz") == 200
    assert status(server.port, "/v1/models") == 200
    assert server.children() == []


def test_curl_prints_tokens_one_by_one(server: Server, figures: Figures) -> None:
    for start in ("cold", "warm"):
        began, seen = curl(server.port, json.dumps({"prompt": PROMPT, "max_tokens": 64}))
        assert seen[-1][1] == b"[DONE]"
        tokens = [(at, json.loads(data)["token"]) for at, data in seen[:-1]]
        assert len(tokens) >= 5, tokens
        assert all(isinstance(token, str) and token for _, token in tokens)
        arrivals = {at for at, _ in tokens}
        assert len(arrivals) >= len(tokens) / 2, "lumps"
        # Half of what the model itself takes, at two hundred tokens a second.
        assert tokens[-1][0] - tokens[0][0] > len(tokens) * 0.0025
        first, total = tokens[0][0] - began, tokens[-1][0] - began
        rate = (len(tokens) - 1) / (total - first)
        figures(
            f"embedded model through curl, {start}",
            f"first token {first:.3f} s, total {total:.2f} s, {rate:.0f} tokens/s",
        )


def test_ask_in_process(tmp_path: Path) -> None:
    answer = ask(PROMPT, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip()
    assert re.search(TIMES, answer.stderr.splitlines()[-1]), answer.stderr


def test_ask_a_server(server: Server, tmp_path: Path) -> None:
    answer = ask("--server", server.url, PROMPT, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip()
    assert re.search(TIMES, answer.stderr.splitlines()[-1]), answer.stderr
    assert len(server.children()) == 1


def test_ask_leaves_no_process(tmp_path: Path) -> None:
    # A terminal's Ctrl-C, in the middle of an answer.
    process = subprocess.Popen(
        [HEADWATER, "ask", LONG],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert os.read(process.stdout.fileno(), 1)
        child = the_child(Server(0, process))
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read().decode()
    assert process.returncode not in (0, None)
    assert "Traceback" not in errors, errors
    eventually(lambda: not is_running(child), f"process {child} ends", within_s=5)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_child_is_gone_when_the_server_is(
    server: Server, figures: Figures, sign: signal.Signals
) -> None:
    assert b"".join(request(server.port, "/stream", {"prompt": PROMPT, "max_tokens": 2}))
    child = the_child(server)
    assert is_running(child)
    began = time.monotonic()
    server.stop(sign)
    eventually(lambda: not is_running(child), f"process {child} ends", within_s=5)
    figures(f"{sign.name} to model gone", f"{time.monotonic() - began:.3f} s")


def test_a_running_answer_is_finished_on_sigterm(server: Server) -> None:
    response = request(server.port, "/stream", {"prompt": PROMPT, "max_tokens": 60})
    arriving = iter(response)
    read = next(arriving)
    child = the_child(server)
    server.process.send_signal(signal.SIGTERM)
    read += b"".join(arriving)
    assert read.endswith(b"data: [DONE]\n\n")
    assert b'"error"' not in read
    server.process.wait(30)
    assert not is_running(child)


def test_a_model_that_is_killed_every_time_ends_the_answer_with_one_error(
    server: Server, figures: Figures
) -> None:
    arriving = start_answer(server)
    seen: list[tuple[float, dict[str, str]]] = []
    for seams in range(3):
        while [event["type"] for _, event in seen].count("stream-repair") < seams:
            seen.append(next(arriving))
        seen += itertools.islice(arriving, 5)
        child = the_child(server)
        os.kill(child, signal.SIGKILL)
        killed = time.monotonic()
    seen += arriving
    figures("third kill -9 of the model to the reader's error", f"{seen[-1][0] - killed:.3f} s")
    kinds = [event["type"] for _, event in seen]
    assert kinds[0] == "stream-start"
    assert kinds.count("stream-repair") == 2
    assert kinds[-1] == "stream-error"
    assert kinds.count("stream-error") == 1
    assert "stream-end" not in kinds
    last: dict[str, object] = dict(seen[-1][1])
    assert last["code"] == "truncated"
    assert last["retryable"] is True

    began, tokens = curl(server.port, json.dumps({"prompt": PROMPT, "max_tokens": 16}))
    assert len(tokens) > 1
    assert tokens[-1][1] == b"[DONE]"
    assert b"error" not in tokens[-2][1]
    figures("first token of the request after", f"{tokens[0][0] - began:.3f} s")
    assert the_child(server) != child


def test_a_model_killed_while_idle_costs_nobody_anything(server: Server) -> None:
    curl(server.port, json.dumps({"prompt": PROMPT, "max_tokens": 2}))
    child = the_child(server)
    os.kill(child, signal.SIGKILL)
    # For about 30 ms its threads are dying and its port still takes connections.
    eventually(lambda: not Path(f"/proc/{child}").exists(), f"process {child} ends", within_s=5)
    _, seen = curl(server.port, json.dumps({"prompt": PROMPT, "max_tokens": 8}))
    assert seen[-1][1] == b"[DONE]"
    assert all(b'"token"' in data for _, data in seen[:-1]), seen
    assert the_child(server) != child
