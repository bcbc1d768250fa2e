"""An event loop that is held up for 10 s loses no stream; one that does not come back does.

Real servers, held up by `time.sleep` and by one call of C that keeps the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.stores.base import stall_s
from headwater.testing import STALL, Answer, FaultyUpstream, chat, chunk
from tests.conftest import Figures
from tests.helpers import held
from tests.helpers.redis import empty_redis
from tests.server.serving import Served, ask, frames, serving
from tests.server.wires import outcome, text_of
from tests.system.test_nodes import begin, follow

pytestmark = pytest.mark.system

PATH = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
BOUND_S = 30.0
HOW = {"sleep": signal.SIGUSR1, "call": signal.SIGUSR2}


def place(scheme: str, folder: Path) -> str:
    return empty_redis() if scheme == "redis" else f"sqlite:///{folder / 'streams.db'}"


@contextlib.contextmanager
def node(
    store: str, upstream: FaultyUpstream, cwd: Path, *, lease_s: float, hold_s: float
) -> Iterator[Served]:
    cwd.mkdir()
    with serving(
        *("--upstream", upstream.url, "--store", store),
        cwd=cwd,
        config=f"[store]\nlease_s = {lease_s}\n[timeouts]\nidle_s = 9\n",
        environ={"HOLD_S": str(hold_s), "PYTHONPATH": PATH},
        command=held.COMMAND,
    ) as served:
        yield served


def without_heartbeats(body: bytes) -> bytes:
    """The whole events of a body."""
    return body.replace(b": ping\n", b"").rpartition(b"\n\n")[0] + b"\n\n"


def keeps_every_stream(scheme: str, how: str, folder: Path, figures: Figures) -> None:
    """Default lease, 10 s: of streams written there, read there, and both."""
    tokens = [f"{number} " for number in range(140)]
    text, store = "".join(tokens), place(scheme, folder)
    with (
        FaultyUpstream(chat(tokens, gap_s=0.1)) as upstream,
        node(store, upstream, folder / "a", lease_s=5.0, hold_s=10.0) as a,
        node(store, upstream, folder / "b", lease_s=5.0, hold_s=10.0) as b,
    ):
        policy = {"Headwater-On-Disconnect": "cancel"}
        here = begin(a, **policy)
        written, read = begin(a, **policy), begin(b, **policy)
        elsewhere, kept = follow(b, written.stream), follow(a, read.stream)
        for reader in (here, written, read, elsewhere, kept):
            reader.until(b"text-delta", 3)
        written.leave()
        read.leave()
        # What a process that does not turn owns is stopped by none, and none says that it was.
        endless = begin(a)
        endless.until(b"text-delta", 3)
        a.process.send_signal(HOW[how])
        began = time.monotonic()
        refused = ask(b.port, f"/v1/streams/{endless.stream}", method="DELETE")
        assert refused.status == 503
        assert refused.error["code"] == "stop_unconfirmed"
        a.line("^held", BOUND_S)
        figures(f"{scheme}: loop held by {how}, nothing lost", f"{time.monotonic() - began:.1f} s")
        assert outcome("native", endless.rest()) == "cancelled"
        for reader in (here, elsewhere, kept):
            assert text_of("native", reader.rest()) == text
            assert outcome("native", reader.body) == "stop"
        assert len(upstream.posts) == 4
        assert b"stream-repair" not in here.body + elsewhere.body + kept.body


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("scheme", "how"), [("sqlite", "call"), ("redis", "sleep")])
def test_ten_seconds_lose_no_stream(
    scheme: str, how: str, tmp_path: Path, figures: Figures
) -> None:
    keeps_every_stream(scheme, how, tmp_path, figures)


@pytest.mark.proof
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("scheme", "how"), [("sqlite", "sleep"), ("redis", "call")])
def test_ten_seconds_lose_no_stream_held_the_other_way(
    scheme: str, how: str, tmp_path: Path, figures: Figures
) -> None:
    keeps_every_stream(scheme, how, tmp_path, figures)


def is_taken_over(scheme: str, how: str, folder: Path, lease_s: float, figures: Figures) -> None:
    """Held for two times as long as it may be: other processes go on, and it leaves off."""
    store, bound_s = place(scheme, folder), stall_s(lease_s)
    silent = Answer([chunk({"content": "Hi"}), STALL])
    with (
        FaultyUpstream(silent) as upstream,
        node(store, upstream, folder / "a", lease_s=lease_s, hold_s=2 * bound_s) as a,
        node(store, upstream, folder / "b", lease_s=lease_s, hold_s=0) as b,
    ):
        reader = begin(a)
        reader.until(b"text-delta")
        other = follow(b, reader.stream)
        other.until(b"text-delta")
        a.process.send_signal(HOW[how])
        began = time.monotonic()
        assert outcome("native", other.rest()) == "interrupted"
        took = time.monotonic() - began
        assert bound_s - 1.5 < took
        figures(f"{scheme}: held by {how}, bound {bound_s:g} s, taken over", f"{took:.1f} s")
        a.line("^held", 10 * bound_s)
        # Its provider is freed and its reader cut, though neither of them says a word.
        upstream.wait(lambda: upstream.posts[0].hung_up_at is not None, BOUND_S)
        with contextlib.suppress(ConnectionError):
            reader.rest()
        assert b"stream-e" not in reader.body
        seen, logged = (frames(without_heartbeats(each.body)) for each in (reader, other))
        assert logged[: len(seen)] == seen
        assert frames(follow(a, reader.stream).rest()) == logged
        assert "on_end" not in a.output
        assert b.output.count("on_end") == 1


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("scheme", "how"), [("sqlite", "call"), ("redis", "sleep")])
def test_a_loop_that_does_not_come_back_loses_them(
    scheme: str, how: str, tmp_path: Path, figures: Figures
) -> None:
    is_taken_over(scheme, how, tmp_path, 1.0, figures)


@pytest.mark.proof
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["call", "sleep"])
@pytest.mark.parametrize("scheme", ["sqlite", "redis"])
def test_sixty_seconds_lose_them(scheme: str, how: str, tmp_path: Path, figures: Figures) -> None:
    is_taken_over(scheme, how, tmp_path, 5.0, figures)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("scheme", ["sqlite", "redis"])
def test_a_killed_process_is_not_waited_for(scheme: str, tmp_path: Path, figures: Figures) -> None:
    """What would be believed for 30 s more is dead: the kernel says so."""
    store, lease_s = place(scheme, tmp_path), 5.0
    with (
        FaultyUpstream(Answer([chunk({"content": "Hi"}), STALL])) as upstream,
        node(store, upstream, tmp_path / "a", lease_s=lease_s, hold_s=0) as a,
        node(store, upstream, tmp_path / "b", lease_s=lease_s, hold_s=0) as b,
    ):
        reader = begin(a)
        reader.until(b"text-delta")
        other = follow(b, reader.stream)
        other.until(b"text-delta")
        a.process.kill()
        began = time.monotonic()
        assert outcome("native", other.rest()) == "interrupted"
        took = time.monotonic() - began
        assert took < lease_s + 2
        figures(f"{scheme}: kill -9, lease {lease_s:g} s, taken over", f"{took:.1f} s")
