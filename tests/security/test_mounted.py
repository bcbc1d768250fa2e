"""Mounted in an app: what is of all callers is for none of its visitors."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.faults.watching import BOUND_S, resident
from tests.helpers.servers import Server, uvicorn
from tests.server.serving import ask

pytestmark = pytest.mark.system

MIB = 1024 * 1024
APP = """
from starlette.applications import Starlette
from headwater import Headwater

hw = Headwater(principal=lambda request: request.headers.get("x-user"))
app = Starlette()
app.mount("/ai", hw.asgi())
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    cwd = tmp_path_factory.mktemp("mounted")
    (cwd / "mounted_app.py").write_text(APP)
    with uvicorn("mounted_app:app", cwd=cwd) as server:
        yield server


@pytest.mark.parametrize("headers", [{}, {"X-User": "ann"}], ids=["a visitor", "a user"])
def test_the_metrics_of_all_are_for_no_visitor(app: Server, headers: dict[str, str]) -> None:
    answer = ask(app.port, "/ai/metrics", headers=headers)
    assert (answer.status, answer.error["code"]) == (403, "forbidden")
    assert ask(app.port, "/ai/healthz", headers=headers).status == 200


def test_probes_that_do_not_end_keep_no_bodies(app: Server) -> None:
    before = resident(app.process.pid)
    head = b"POST /ai/probe?ticks=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", app.port), BOUND_S))
            with contextlib.suppress(ConnectionError):  # beyond the most, it is refused at its head
                sock.sendall(head + b"a" * 9_000_000)
        assert ask(app.port, "/ai/healthz").status == 200
        assert resident(app.process.pid) - before < 60 * MIB
