"""The example that saves: a row for each end there is, `kill -9` of the server included."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from headwater.testing import CUT, DONE, MODELS, STALL, Answer, FaultyUpstream, Gate, Request, chunk
from headwater.testing.answers import Step
from tests.helpers.arrivals import request
from tests.helpers.examples import example
from tests.helpers.polling import eventually
from tests.helpers.servers import Server
from tests.server.serving import Reader, ask

pytestmark = pytest.mark.system

BOUND_S = 20.0

#: An answer's row: content, status, error, stream.
Row = tuple[str, str, str | None, str]


class Saving(NamedTuple):
    """The example on the folder `data`, and its upstream, which says `b` when `gate` is open."""

    server: Server
    upstream: FaultyUpstream
    gate: Gate
    data: Path

    def begin(self, chat: str, prompt: str) -> Reader:
        """Ask in a chat, and read until the answer has begun."""
        reader = Reader(request(self.server.port, f"/chats/{chat}", {"prompt": prompt}))
        reader.until(b'"token"')
        return reader

    def saved(self, chat: str) -> Row:
        """The chat's one answer, once it is there."""
        eventually(lambda: bool(answers(self.data, chat)), "the answer's row", within_s=BOUND_S)
        [row] = answers(self.data, chat)
        return row


def answers(data: Path, chat: str) -> list[Row]:
    with contextlib.closing(sqlite3.connect(data / "chat.db")) as db:
        return db.execute(
            "SELECT content, status, error, stream FROM messages"
            " WHERE chat = ? AND role = 'assistant'",
            (chat,),
        ).fetchall()


@contextlib.contextmanager
def saving(data: Path) -> Iterator[Saving]:
    gate = Gate()
    tails: dict[str, list[Step]] = {
        "whole": [chunk({"content": "b"}, "stop"), DONE],
        "held": [STALL],
        "broken": [0.05, CUT],
        "gated": [gate, chunk({"content": "b"}, "stop"), DONE],
    }

    def answer(asked: Request) -> Answer:
        if asked.method == "GET":
            return MODELS
        return Answer([chunk({"content": "a"}), *tails[asked.json["messages"][-1]["content"]]])

    with FaultyUpstream(answer) as upstream:
        environ = {
            "HEADWATER_SERVER__UPSTREAM": upstream.url,
            "HEADWATER_STORE__LEASE_S": "1",
            "DATA": str(data),
        }
        with example("save_to_database", environ) as server:
            yield Saving(server, upstream, gate, data)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saving]:
    with saving(tmp_path_factory.mktemp("data")) as app:
        yield app


def test_an_answer_that_ends_and_the_next_one_that_knows_it(app: Saving) -> None:
    reader = app.begin("whole", "whole")
    reader.rest()
    assert app.saved("whole") == ("ab", "done", None, reader.stream)
    app.begin("whole", "whole").rest()
    assert [(m["role"], m["content"]) for m in app.upstream.posts[-1].json["messages"]] == [
        ("user", "whole"),
        ("assistant", "ab"),
        ("user", "whole"),
    ]
    shown = ask(app.server.port, "/chats/whole").json
    assert [(row["role"], row["content"]) for row in shown][:2] == [("user", "whole"), ("assistant", "ab")]  # fmt: skip


def test_one_that_is_stopped(app: Saving) -> None:
    reader = app.begin("stopped", "held")
    stopped = ask(app.server.port, f"/ai/v1/streams/{reader.stream}", method="DELETE")
    assert stopped.status == 204
    assert app.saved("stopped") == ("a", "cancelled", None, reader.stream)
    reader.rest()


def test_one_that_breaks_off(app: Saving) -> None:
    reader = app.begin("broken", "broken")
    assert app.saved("broken") == ("a", "failed", "truncated", reader.stream)
    assert b'"error"' in reader.rest()


def test_one_whose_reader_has_left(app: Saving) -> None:
    reader = app.begin("left", "gated")
    reader.leave()
    app.begin("meanwhile", "whole").rest()  # asked later than he left
    assert answers(app.data, "left") == []
    app.gate.set()
    assert app.saved("left") == ("ab", "done", None, reader.stream)


def test_kill_9_and_the_next_server(tmp_path: Path) -> None:
    """What the killed server had sent is saved by the next one before anybody asks it."""
    with saving(tmp_path) as app:
        reader = app.begin("killed", "held")
        os.killpg(app.server.process.pid, signal.SIGKILL)
        with contextlib.suppress(ConnectionError):
            reader.rest()
    assert answers(tmp_path, "killed") == []
    with saving(tmp_path) as app:
        assert app.saved("killed") == ("a", "failed", "interrupted", reader.stream)
        state = ask(
            app.server.port,
            f"/ai/v1/streams/{reader.stream}",
            headers={"Accept": "application/json"},
        ).json
        assert (state["text"], state["metadata"]) == ("a", {"chat": "killed"})


def test_a_server_that_is_told_to_stop_waits_for_what_runs(tmp_path: Path) -> None:
    with saving(tmp_path) as app:
        reader = app.begin("late", "gated")
        reader.leave()
        os.killpg(app.server.process.pid, signal.SIGTERM)
        eventually(lambda: refuses(app.server.port), "the port's closing", within_s=BOUND_S)
        app.gate.set()
        assert app.saved("late") == ("ab", "done", None, reader.stream)


def refuses(port: int) -> bool:
    try:
        request(port, "/chats/none").close()
    except ConnectionError:
        return True
    return False
