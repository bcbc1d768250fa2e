"""A disk that is full, a log that was torn: what was delivered was stored, and is still there."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from headwater.events import StreamError, decode
from headwater.testing import FaultyUpstream, chat
from tests.helpers.arrivals import request
from tests.helpers.polling import eventually
from tests.helpers.redis import redis_server
from tests.server.serving import Reader, ask, data_of, frames, serving
from tests.server.wires import outcome

pytestmark = pytest.mark.system

BOUND_S = 30.0
BODY = {"prompt": "?"}


def fill(path: Path) -> None:
    """What others write until nothing fits any more."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_fault_44_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    tokens = [f"{number} " + "x" * 2000 for number in range(2000)]
    store = f"sqlite:///{small_disk / 's.db'}"
    with (
        FaultyUpstream(chat(tokens, gap_s=0.001)) as upstream,
        serving("--upstream", upstream.url, "--store", store, cwd=tmp_path) as served,
    ):
        reader = Reader(request(served.port, "/v1/streams", BODY, timeout_s=BOUND_S))
        assert outcome("native", reader.rest()) == "storage_failed"
        upstream.wait(lambda: upstream.posts[0].hung_up_at is not None, BOUND_S)
        *seen, last = frames(reader.body)
        # Its end is in no log: it has no position.
        assert not last.startswith(b"id:")
        assert len(seen) > 10
        fill(small_disk / "others")
        # What had been written for the commit that failed is room for small ones, but not for long.
        answers = (ask(served.port, "/v1/streams", BODY) for _ in range(200))
        refused = next(answer for answer in answers if answer.status != 200)
        assert refused.status == 503
        assert refused.error["code"] == "store_unavailable"
        assert ask(served.port, "/healthz").status == 200

        subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
        path = f"/v1/streams/{reader.stream}"

        def ended() -> bool:
            answer = ask(served.port, path, headers={"Accept": "application/json"})
            return answer.status == 200 and answer.json["status"] == "failed"

        eventually(ended, "the end is in the log once there is room", within_s=BOUND_S)
        logged = frames(ask(served.port, path).body)
        # Nothing was delivered that was not stored.
        assert logged[: len(seen)] == seen
        end = decode(data_of(logged[-1]))
        assert isinstance(end, StreamError)
        assert end.code == "storage_failed"
        assert ask(served.port, "/v1/streams", BODY).status == 200


def test_fault_45_a_torn_tail(tmp_path: Path) -> None:
    """The commits that a crash cut short are gone; what is before them is whole and in order."""
    tokens = [f"{number} " for number in range(60)]
    database = tmp_path / "s.db"
    with FaultyUpstream(chat(tokens, gap_s=0.005)) as upstream:
        with serving(
            "--upstream", upstream.url, "--store", f"sqlite:///{database}", cwd=tmp_path
        ) as served:
            reader = Reader(request(served.port, "/v1/streams", BODY, timeout_s=BOUND_S))
            reader.until(b"text-delta", 50)
            served.process.kill()
            with contextlib.suppress(ConnectionError):
                reader.rest()
        wal = tmp_path / "s.db-wal"
        whole, chance = wal.read_bytes(), random.Random(5)
        seen = frames(reader.body.rpartition(b"\n\n")[0] + b"\n\n")
        for turn in range(4):
            folder = tmp_path / f"torn-{turn}"
            folder.mkdir()
            shutil.copy(database, folder / "s.db")
            # From half of it on, so that the tables and the stream are there.
            (folder / "s.db-wal").write_bytes(
                whole[: chance.randrange(len(whole) // 2, len(whole))]
            )
            with serving(
                "--upstream",
                upstream.url,
                "--store",
                f"sqlite:///{folder / 's.db'}",
                cwd=folder,
                config="[store]\nlease_s = 1\n",
            ) as served:
                path = f"/v1/streams/{reader.stream}"
                body = Reader(request(served.port, path, timeout_s=BOUND_S)).rest()
                *logged, _ = frames(body)
                assert logged == seen[: len(logged)]
                assert outcome("native", body) == "interrupted"


def test_fault_46_redis_falls_silent(tmp_path: Path) -> None:
    """New streams are refused in time; one that runs waits, and then ends; both once it is back."""
    config = "[store]\nlease_s = 1\n"
    with (
        redis_server() as redis,
        FaultyUpstream(chat([f"{number} " for number in range(400)], gap_s=0.02)) as upstream,
        serving(
            "--upstream", upstream.url, "--store", redis.url, cwd=tmp_path, config=config
        ) as served,
    ):
        reader = Reader(request(served.port, "/v1/streams", BODY, timeout_s=BOUND_S))
        reader.until(b"text-delta", 5)
        with redis.stopped():
            refused = ask(served.port, "/v1/streams", BODY)
            assert refused.status == 503
            assert refused.error["code"] == "store_unavailable"
            assert outcome("native", reader.rest()) == "storage_failed"
            upstream.wait(lambda: upstream.posts[0].hung_up_at is not None, BOUND_S)
        *seen, last = frames(reader.body)
        assert not last.startswith(b"id:")
        path = f"/v1/streams/{reader.stream}"

        def ended() -> bool:
            answer = ask(served.port, path, headers={"Accept": "application/json"})
            return answer.status == 200 and answer.json["status"] == "failed"

        eventually(ended, "the end is in the log once Redis is back", within_s=BOUND_S)
        assert frames(ask(served.port, path).body)[: len(seen)] == seen
        assert ask(served.port, "/v1/streams", BODY).status == 200
