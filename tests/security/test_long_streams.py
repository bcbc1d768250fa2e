"""The state of a long stream holds up no other request, in any wire."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from headwater.testing import chat
from tests.conftest import Figures
from tests.faults.watching import BOUND_S
from tests.server.serving import ask
from tests.server.world import World, world

TOKENS = 100_000


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("long")) as running:
        yield running


@pytest.fixture(scope="module")
def stream(w: World) -> str:
    reader = w.post("native", w.plan(chat(["token "] * TOKENS)))
    reader.rest()
    return reader.stream


def test_the_state_of_a_hundred_thousand_tokens(w: World, stream: str, figures: Figures) -> None:
    """Asked for by eight at once; meanwhile the server answers others."""
    waits, done, states = [0.0], threading.Event(), list[int]()

    def watch() -> None:
        while not done.is_set():
            began = time.monotonic()
            assert ask(w.port, "/healthz").status == 200
            waits.append(time.monotonic() - began)

    def look() -> None:
        paths = (f"/v1/streams/{stream}", f"/v1/responses/resp_{stream}")
        for path in paths:
            answer = ask(w.port, path, headers={"Accept": "application/json"})
            states.append(answer.body.count(b"token "))

    threads = [threading.Thread(target=look) for _ in range(8)]
    watcher = threading.Thread(target=watch)
    for thread in (watcher, *threads):
        thread.start()
    for thread in threads:
        thread.join(60)
    done.set()
    watcher.join(BOUND_S)
    assert states == [TOKENS] * 16
    figures("8 states of 100,000 tokens", f"/healthz {max(waits) * 1000:.0f} ms at most")
    assert max(waits) < 4.0
