"""The terminal's example, in a terminal: read, cut, resumed, stopped with Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest

from headwater.testing import (
    MODELS,
    STALL,
    Answer,
    Fault,
    FaultyProxy,
    FaultyUpstream,
    Request,
    chat,
    chunk,
)
from tests.helpers.arrivals import assert_one_by_one, token_times
from tests.helpers.examples import started
from tests.helpers.polling import eventually
from tests.helpers.processes import headwater_serve

pytestmark = pytest.mark.system

BOUND_S = 20.0
TOKENS = [f"token-{number}, " for number in range(8)] + ["天空 ", "🌊"]
ANSWERS = {
    "tokens": chat(TOKENS, gap_s=0.1),
    "stall": Answer([chunk({"content": "begun"}), STALL]),
}


def answer(asked: Request) -> Answer:
    return MODELS if asked.method == "GET" else ANSWERS[asked.json["messages"][-1]["content"]]


class Terminal:
    """Whoever sits before the example: types, and sees."""

    def __init__(self, end: int, process: subprocess.Popen[bytes]) -> None:
        self._end = end
        self.process = process
        self.shown = b""

    def type(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def until(self, mark: str) -> str:
        """See what is shown to the next `mark`, which is taken off; what stood before it."""
        end = time.monotonic() + BOUND_S
        while mark.encode() not in self.shown:
            left = end - time.monotonic()
            assert left > 0, f"no {mark!r} in {self.shown!r}"
            if select.select([self._end], [], [], left)[0]:
                self.shown += os.read(self._end, 65536)
        before, _, self.shown = self.shown.partition(mark.encode())
        return before.decode()


@contextlib.contextmanager
def terminal(url: str) -> Iterator[Terminal]:
    """The example in a terminal of its own, at its first prompt."""
    ours, its = pty.openpty()
    quiet = termios.tcgetattr(its)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(its, termios.TCSANOW, quiet)
    try:
        with started("terminal", {"HEADWATER_URL": url}, tty=its) as process:
            os.close(its)
            one = Terminal(ours, process)
            one.until("> ")
            yield one
    finally:
        os.close(ours)


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultyUpstream]:
    with FaultyUpstream(answer) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def port(upstream: FaultyUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with headwater_serve("--upstream", upstream.url, cwd=tmp_path_factory.mktemp("serve")) as port:
        yield port


def test_tokens_come_one_by_one(upstream: FaultyUpstream, port: int) -> None:
    with terminal(f"http://127.0.0.1:{port}") as one:
        one.type("tokens\n")
        arrived = []
        for token in TOKENS:
            assert one.until(token) == ""
            arrived.append(time.monotonic())
    sent = token_times(upstream)
    assert_one_by_one(arrived, sent)


def test_what_cuts_took_is_read_from_where_it_was(upstream: FaultyUpstream, port: int) -> None:
    """Cut inside the head of the POST, of the one sent again, and of what resumed that."""
    asked = len(upstream.posts)
    faults = [Fault(after=after) for after in (100, 800, 700)]
    with FaultyProxy(port, faults) as proxy, terminal(proxy.url) as one:
        one.type("tokens\n")
        shown = one.until("> ")
    assert re.sub(r"\[.*?; trying again\]\r\n", "", shown).strip() == "".join(TOKENS)
    assert shown.count("trying again") == 3
    assert [link.over_at is not None for link in proxy.links[:3]] == [True] * 3
    assert [link.asked.split()[0] for link in proxy.links] == [b"POST", b"POST", b"GET", b"GET"]
    assert len(upstream.posts) == asked + 1


def test_ctrl_c_stops_the_answer_and_the_next_question_knows_it(
    upstream: FaultyUpstream, port: int
) -> None:
    with terminal(f"http://127.0.0.1:{port}") as one:
        one.type("stall\n")
        one.until("begun")
        asked = upstream.posts[-1]
        one.type("\x03")
        one.until("> ")
        eventually(lambda: asked.freed_at is not None, "the upstream's freeing", within_s=BOUND_S)
        one.type("tokens\n")
        one.until(TOKENS[-1])
        one.until("> ")
        assert [m["content"] for m in upstream.posts[-1].json["messages"]] == [
            "stall",
            "begun",
            "tokens",
        ]
        one.type("\x04")
        assert one.process.wait(BOUND_S) == 0
