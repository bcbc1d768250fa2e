"""What gunicorn does to a worker in the middle of an answer, by its kind and flags."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.arrivals import request
from tests.helpers.servers import Server, gunicorn
from tests.system.test_flask import tokens

pytestmark = pytest.mark.system

HERE = Path(__file__).parent
TIMEOUT = ["--timeout", "2"]
# The next worker's app, too, was made before the fork.
RECYCLED = ["--max-requests", "1", "--graceful-timeout", "20", "--preload"]

#: Flags, how long the answer takes, and whether its reader gets it whole.
TRAPS: dict[str, tuple[Sequence[str], float, bool]] = {
    "gthread outlives --timeout": (["--threads", "4", *TIMEOUT], 5, True),
    "gevent outlives --timeout": (["-k", "gevent", *TIMEOUT], 5, True),
    "sync is killed at --timeout": (["-k", "sync", *TIMEOUT], 5, False),
    "gthread finishes, recycled": (["--threads", "4", *RECYCLED], 2.5, True),
    "gevent finishes, recycled": (["-k", "gevent", *RECYCLED], 2.5, True),
    "sync finishes, recycled": (["-k", "sync", *RECYCLED], 2.5, True),
}


def test_what_becomes_of_an_answer() -> None:
    """Side by side, since each takes its time; then each server's next worker answers too."""
    with ExitStack() as running, ThreadPoolExecutor(len(TRAPS)) as pool:
        servers = [
            running.enter_context(gunicorn("flask_routes:app", *flags, cwd=HERE))
            for flags, _, _ in TRAPS.values()
        ]
        lasting = [seconds for _, seconds, _ in TRAPS.values()]
        became = dict(zip(TRAPS, pool.map(answer, servers, lasting), strict=True))
    assert {name: whole for name, (whole, _) in became.items()} == {
        name: whole for name, (_, _, whole) in TRAPS.items()
    }
    for name, (_, workers) in became.items():
        replaced = "outlives" not in name
        assert len(workers) == 1 + replaced, name


def answer(server: Server, seconds: float) -> tuple[bool, set[str]]:
    """Whether an answer that takes so long came whole; the workers that gave it and the next."""
    first = request(server.port, "/own", {"words": ["a"] * 10, "gap_s": seconds / 10})
    try:
        whole = tokens(b"".join(first)) == ["a"] * 10
    except ConnectionError:  # cut, and seen to be
        whole = False
    following = request(server.port, "/own", {"words": ["b"], "gap_s": 0})
    assert tokens(b"".join(following)) == ["b"]
    return whole, {response.head.headers["worker"] for response in (first, following)}
