"""A key that is taken out of the configuration: SIGHUP, and its streams are over."""

from __future__ import annotations

import os
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headwater.testing import STALL, Answer, chat, chunk
from tests.faults.watching import post_bytes
from tests.helpers.arrivals import Response
from tests.helpers.polling import eventually
from tests.server.serving import Reader, ask
from tests.server.wires import body_of, outcome
from tests.server.world import BOUND_S, World, world

pytestmark = pytest.mark.system

KEYS = {"ANN": "key-of-ann", "BOB": "key-of-bob"}
ANN = {"Authorization": f"Bearer {KEYS['ANN']}"}
BOB = {"Authorization": f"Bearer {KEYS['BOB']}"}
HELD = Answer([chunk({"content": "abc"}), STALL])
BOTH = '[auth.keys]\nann = "env:ANN"\nbob = { key = "env:BOB", admin = true }\n'
CONFIGS = {
    "gone": '[auth.keys]\nbob = { key = "env:BOB", admin = true }\n',
    "changed": f'[auth.keys]\nann = "sha256:{"0" * 64}"\nbob = {{ key = "env:BOB", admin = true }}\n',
}


def status(w: World, headers: dict[str, str]) -> int:
    return ask(w.port, "/v1/streams", headers=headers).status


def held(w: World, headers: dict[str, str]) -> tuple[str, Reader]:
    prompt = w.plan(HELD)
    reader = w.post("native", prompt, headers | {"Headwater-On-Disconnect": "continue"})
    reader.until(b"abc")
    return prompt, reader


def finished(w: World, reader: Reader, headers: dict[str, str]) -> None:
    assert (
        ask(w.port, f"/v1/streams/{reader.stream}", headers=headers, method="DELETE").status == 204
    )
    assert outcome("native", reader.rest()) == "cancelled"


@pytest.mark.parametrize("how", CONFIGS)
def test_its_streams_end_and_nobody_else_s(how: str, tmp_path: Path) -> None:
    with world(tmp_path, BOTH, **KEYS) as w:
        prompt, anns = held(w, ANN)
        _, bobs = held(w, BOB)
        (tmp_path / "headwater.toml").write_text(CONFIGS[how])
        w.served.process.send_signal(signal.SIGHUP)
        assert outcome("native", anns.rest()) == "cancelled"
        assert w.freed(prompt, 0)
        assert (status(w, ANN), status(w, BOB)) == (401, 200)
        state = ask(
            w.port, f"/v1/streams/{bobs.stream}", headers=BOB | {"Accept": "application/json"}
        )
        assert state.json["status"] == "running"
        metrics = ask(w.port, "/metrics", headers=BOB).body
        ended = b'headwater_streams_ended_total{ended_by="revoked",outcome="cancelled"} 1.0'
        assert ended in metrics
        finished(w, bobs, BOB)


@pytest.mark.parametrize("config", ["[auth.keys\n", '[auth.keys]\nann = 1\n', "", '[auth.keys]\nbob = "env:CAROL"\n'])  # fmt: skip
def test_a_mistake_changes_nothing(config: str, tmp_path: Path) -> None:
    with world(tmp_path, BOTH, **KEYS) as w:
        _, anns = held(w, ANN)
        (tmp_path / "headwater.toml").write_text(config)
        w.served.process.send_signal(signal.SIGHUP)
        w.served.line("the keys stay as they were: ", BOUND_S)
        assert (status(w, ANN), status(w, BOB)) == (200, 200)
        finished(w, anns, ANN)


def test_every_worker_and_those_to_come_forget_it(tmp_path: Path) -> None:
    config = BOTH + '[server]\nworkers = 2\n[store]\nurl = "sqlite:///streams.db"\n'
    with world(tmp_path, config, **KEYS) as w:
        readers = [held(w, ANN)[1] for _ in range(4)]
        (tmp_path / "headwater.toml").write_text(config.replace('ann = "env:ANN"\n', ""))
        w.served.process.send_signal(signal.SIGHUP)
        for reader in readers:
            assert outcome("native", reader.rest()) == "cancelled"
        pids = children(w.served.process.pid)
        assert len(pids) == 2
        os.kill(pids[0], signal.SIGKILL)
        eventually(lambda: started(w.served.process.pid, pids[0]), "a new worker", within_s=BOUND_S)
        with ThreadPoolExecutor(40) as pool:  # at once, since wrong keys wait for up to 2 s
            asked = [(key, pool.submit(status, w, key)) for key in (ANN, BOB) * 20]
        assert {each.result() for key, each in asked if key is ANN} == {401}
        assert {each.result() for key, each in asked if key is BOB} == {200}
        assert w.post("native", w.plan(chat(["hi"])), BOB).rest()


def test_without_keys_the_signal_ends_the_server_as_ever(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        assert ask(w.port, "/stream", body_of("plain", w.plan(chat(["hi"])))).status == 200
        w.served.process.send_signal(signal.SIGHUP)
        assert w.served.process.wait(BOUND_S) == -signal.SIGHUP


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in found.split()]


def started(supervisor: int, dead: int) -> bool:
    """Whether there are two workers besides the dead one, each with a handler for SIGHUP."""
    workers = [pid for pid in children(supervisor) if pid != dead]
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in workers]
    masks = [re.search(r"^SigCgt:\s+(\w+)$", text, re.M) for text in statuses]
    return len(workers) == 2 and all(mask and int(mask[1], 16) & 1 for mask in masks)


def test_a_request_whose_body_comes_after_the_revocation_begins_nothing(tmp_path: Path) -> None:
    with world(tmp_path, BOTH, **KEYS) as w:
        prompt = w.plan(chat(["hi"]))
        request = post_bytes("/v1/streams", body_of("native", prompt), ANN)
        with socket.create_connection(("127.0.0.1", w.port), BOUND_S) as sock:
            sock.sendall(request[:-1])
            eventually(lambda: status(w, ANN) == 200, "the head is read", within_s=BOUND_S)
            (tmp_path / "headwater.toml").write_text(CONFIGS["gone"])
            w.served.process.send_signal(signal.SIGHUP)
            eventually(lambda: status(w, ANN) == 401, "the key is revoked", within_s=BOUND_S)
            sock.sendall(request[-1:])
            assert Response(sock).head.status == 401
        assert not [post for post in w.upstream.posts if prompt.encode() in post.body]
