"""Several processes on one store: what one begins, any other reads, resumes and stops.

Every test runs on every shared store there is; `serving` starts real servers.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.testing import STALL, Answer, FaultyUpstream, chat, chunk
from tests.conftest import Figures
from tests.helpers.arrivals import request
from tests.helpers.polling import eventually
from tests.helpers.redis import empty_redis
from tests.server.serving import Reader, Served, ask, frames, ids, serving
from tests.server.wires import outcome, text_of

pytestmark = pytest.mark.system

TOKENS = [
    "Was ",
    "weiß ",
    "der ",
    "Fluß ",
    "vom ",
    "Meer, ",
    "zu ",
    "dem ",
    "er ",
    "fließt? ",
    "🌊 ",
] * 8
TEXT = "".join(TOKENS)
SLOW = chat(TOKENS, gap_s=0.02)
LEASE_S = 1.0
BOUND_S = 20.0


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return empty_redis()
    return f"sqlite:///{tmp_path / 'streams.db'}"


@contextlib.contextmanager
def node(
    store: str, upstream: FaultyUpstream, cwd: Path, *arguments: str, **config: object
) -> Iterator[Served]:
    cwd.mkdir(exist_ok=True)
    lines = "[store]\n" + f"lease_s = {LEASE_S}\n"
    lines += "[server]\n" + "".join(f"{key} = {value}\n" for key, value in config.items())
    options = ("--upstream", upstream.url, "--store", store)
    with serving(*options, *arguments, cwd=cwd, config=lines) as served:
        yield served


@contextlib.contextmanager
def two(
    store: str, answer: Answer, folder: Path, **config: object
) -> Iterator[tuple[Served, Served, FaultyUpstream]]:
    with (
        FaultyUpstream(answer) as upstream,
        node(store, upstream, folder / "a", **config) as a,
        node(store, upstream, folder / "b", **config) as b,
    ):
        yield a, b, upstream


def begin(served: Served, path: str = "/v1/streams", **headers: str) -> Reader:
    body = {"messages": [{"role": "user", "content": "?"}], "stream": True}
    return Reader(request(served.port, path, body, headers, timeout_s=BOUND_S))


def follow(served: Served, stream: str, wire: str = "native", after: str | None = None) -> Reader:
    headers = {} if after is None else {"Last-Event-ID": after}
    path = f"/v1/streams/{stream}?wire={wire}"
    return Reader(request(served.port, path, None, headers, timeout_s=BOUND_S))


@pytest.mark.parametrize("wire", ["native", "openai", "plain"])
def test_one_begins_another_reads(store: str, tmp_path: Path, wire: str) -> None:
    with two(store, SLOW, tmp_path) as (a, b, upstream):
        reader = begin(a)
        reader.until(b"\n\n", 5)
        other = follow(b, reader.stream, wire)
        other.until(b"\n\n", 8)
        assert reader.rest() == (follow(b, reader.stream).rest())
        assert text_of(wire, other.rest()) == TEXT
        assert outcome(wire, other.body) in ("stop", "done")
        assert len(upstream.posts) == 1


def test_a_token_reaches_another_process_at_once(
    store: str, tmp_path: Path, figures: Figures
) -> None:
    steps = [part for token in TOKENS[:20] for part in (0.1, chunk({"content": token}))]
    with two(store, Answer([chunk({"content": "x"}), *steps, STALL]), tmp_path) as (a, b, _):
        reader = begin(a)
        other = follow(b, reader.stream)
        other.until(b"text-delta", 3)
        late = []
        for count in range(6, 20):
            reader.until(b"text-delta", count)
            at = time.monotonic()
            other.until(b"text-delta", count)
            late.append(time.monotonic() - at)
        # Woken by a note, not by the look of every second.
        assert sorted(late)[len(late) // 2] < 0.1
        scheme = store.partition(":")[0]
        figures(f"{scheme}: a token in another process after", f"{max(late) * 1000:.1f} ms at most")
        ask(a.port, f"/v1/streams/{reader.stream}", method="DELETE")  # no drain waits for it


def test_any_process_stops_it(store: str, tmp_path: Path, figures: Figures) -> None:
    with two(store, Answer([chunk({"content": "Hi"}), STALL]), tmp_path) as (a, b, upstream):
        reader = begin(a)
        reader.until(b"text-delta")
        other = follow(b, reader.stream)
        other.until(b"text-delta")
        at = time.monotonic()
        assert ask(b.port, f"/v1/streams/{reader.stream}", method="DELETE").status == 204
        figures(
            f"{store.partition(':')[0]}: stop from another process",
            f"{(time.monotonic() - at) * 1000:.0f} ms",
        )
        assert outcome("native", reader.rest()) == "cancelled"
        assert other.rest() == reader.body
        upstream.wait(lambda: upstream.posts[0].hung_up_at is not None, BOUND_S)
        # Again, and from the other side: nothing changes.
        for served in (a, b):
            assert ask(served.port, f"/v1/streams/{reader.stream}", method="DELETE").status == 204
        assert follow(a, reader.stream).rest() == reader.body


def test_readers_elsewhere_keep_it_alive(store: str, tmp_path: Path) -> None:
    with two(store, Answer([chunk({"content": "Hi"}), STALL]), tmp_path) as (a, b, upstream):
        reader = begin(a, **{"Headwater-On-Disconnect": "1"})
        reader.until(b"text-delta")
        other = follow(b, reader.stream)
        other.until(b"text-delta")
        reader.leave()
        time.sleep(2.5)  # a stream without readers would be cancelled after 1 s
        assert upstream.posts[0].hung_up_at is None
        other.leave()
        upstream.wait(lambda: upstream.posts[0].hung_up_at is not None, BOUND_S)


def test_a_position_is_valid_on_every_process_and_in_every_wire(store: str, tmp_path: Path) -> None:
    with two(store, chat(TOKENS[:6]), tmp_path) as (a, b, _):
        reader = begin(a)
        reader.rest()
        stream = reader.stream
        for wire, served in itertools.product(("native", "plain", "openai"), (a, b)):
            body = follow(served, stream, wire).rest()
            for frame in frames(body):
                for position in ids(frame):
                    rest = body.partition(frame)[2]
                    answer = ask(
                        served.port,
                        f"/v1/streams/{stream}?wire={wire}",
                        headers={"Last-Event-ID": position},
                    )
                    assert answer.body == rest


def explained(served: Served, stream: str, ended_by: str) -> None:
    """The state, the log and the metrics of the process that swept up say why it ended."""
    path, headers = f"/v1/streams/{stream}", {"Accept": "application/json"}
    state = ask(served.port, path, headers=headers).json
    repair = "not_tried: no_continuing_provider"
    assert (state["ended_by"], state["repair"]) == (ended_by, repair)
    served.line(rf"warning .*stream {stream}: interrupted, ended by {ended_by} of process \S+,")
    metric = f'headwater_streams_ended_total{{ended_by="{ended_by}",outcome="interrupted"}} 1.0'
    assert metric in ask(served.port, "/metrics").body.decode()


@pytest.mark.parametrize("kind", ["kill", "stop"])
def test_fault_42_a_dead_process_is_swept_up_after(
    store: str, tmp_path: Path, kind: str, figures: Figures
) -> None:
    with two(store, SLOW, tmp_path) as (a, b, _):
        reader = begin(a)
        other = follow(b, reader.stream)
        reader.until(b"text-delta", 10)
        a.process.send_signal(signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
        at = time.monotonic()
        assert outcome("native", other.rest()) == "interrupted"
        took = time.monotonic() - at
        assert took < (LEASE_S + 2) * 3
        figures(
            f"{store.partition(':')[0]}: {kind} -9 to interrupted, lease {LEASE_S:g} s",
            f"{took:.1f} s",
        )
        lost = "process_lost" if kind == "kill" else "process_stalled"
        explained(b, reader.stream, lost)
        if kind == "stop":  # a zombie: what it brings now is refused, and its reader is cut
            a.process.send_signal(signal.SIGCONT)
            with contextlib.suppress(ConnectionError):
                reader.rest()
            assert b"stream-error" not in reader.body
            assert b"stream-end" not in reader.body
        # Whatever a reader saw is in the log, where it saw it.
        seen = frames(reader.body.rpartition(b"\n\n")[0] + b"\n\n")
        logged = frames(follow(b, reader.stream).rest())
        assert logged[: len(seen)] == seen
        assert other.body == b"".join(logged)


def test_fault_43_a_stopped_process_lets_go(store: str, tmp_path: Path) -> None:
    with two(store, SLOW, tmp_path, drain_s=0.3) as (a, b, _):
        reader = begin(a)
        reader.until(b"text-delta", 3)
        a.process.terminate()
        with contextlib.suppress(ConnectionError):
            reader.rest()
        # No terminal event: its reader comes back, and hears the end from another process.
        assert b"stream-e" not in reader.body
        position = ids(reader.body)[-1]
        rest = follow(b, reader.stream, after=position).rest()
        assert outcome("native", rest) == "interrupted"
        explained(b, reader.stream, "shutdown")
        assert a.wait(BOUND_S) == 0


def test_workers_share_one_store(store: str, tmp_path: Path) -> None:
    with (
        FaultyUpstream(SLOW) as upstream,
        node(store, upstream, tmp_path / "a", "--workers", "2") as served,
    ):
        eventually(lambda: ask(served.port, "/readyz").status == 200, "ready", within_s=BOUND_S)
        readers = [begin(served) for _ in range(8)]
        for reader in readers:
            reader.until(b"text-delta", 2)
        followers = [follow(served, reader.stream) for reader in readers for _ in range(4)]
        for number, follower in enumerate(followers):
            assert text_of("native", follower.rest()) == TEXT
            assert follower.body == readers[number // 4].rest()
        assert len(upstream.posts) == 8


def test_a_dead_worker_is_replaced_and_none_outlives_its_supervisor(
    store: str, tmp_path: Path
) -> None:
    def workers(pid: int) -> list[int]:
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return [int(child) for child in children.read_text().split()]

    with (
        FaultyUpstream(SLOW) as upstream,
        node(store, upstream, tmp_path / "a", "--workers", "2") as served,
    ):
        before = workers(served.process.pid)
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        eventually(
            lambda: len(set(workers(served.process.pid)) - {before[0]}) == 2,
            "replaced",
            within_s=BOUND_S,
        )
        eventually(
            lambda: text_of("native", begin(served).rest()) == TEXT, "served", within_s=BOUND_S
        )
        now = workers(served.process.pid)
        served.process.kill()
        eventually(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in now), "gone", within_s=BOUND_S
        )


def killed_at_random(store: str, folder: Path, seed: int, times: int) -> Iterator[None]:
    """Kill the only server at a random moment; nothing that a reader saw is missing after it."""
    chance = random.Random(seed)
    with FaultyUpstream(SLOW) as upstream:
        for turn in range(times):
            with node(store, upstream, folder / f"{turn}") as served:
                readers = [begin(served) for _ in range(4)]
                readers[0].until(b"text-delta", chance.randint(1, len(TOKENS) - 4))
                served.process.kill()
                for reader in readers:
                    with contextlib.suppress(ConnectionError):
                        reader.rest()
            with node(store, upstream, folder / f"{turn}") as served:
                for reader in readers:
                    seen = frames(reader.body.rpartition(b"\n\n")[0] + b"\n\n")
                    body = follow(served, reader.stream).rest()
                    assert frames(body)[: len(seen)] == seen
                    assert outcome("native", body) == "interrupted"
            yield


def test_kill_9_loses_nothing_that_was_seen(store: str, tmp_path: Path) -> None:
    for _ in killed_at_random(store, tmp_path, seed=1, times=3):
        pass


@pytest.mark.proof
@pytest.mark.timeout(1200)
def test_kill_9_fifty_times(store: str, tmp_path: Path, figures: Figures) -> None:
    survived = sum(1 for _ in killed_at_random(store, tmp_path, seed=2, times=50))
    figures(f"{store.partition(':')[0]}: kill -9, and nothing seen was lost", f"{survived} of 50")
    assert survived == 50
