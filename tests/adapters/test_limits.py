"""`[limits]` hold in an app's own routes, by the principal that it names."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from starlette.types import Message

from headwater import Headwater
from headwater.adapters.flask import stream_response

MODEL = "tape/story?speed=max"


@pytest.fixture
def hw(tmp_path: Path) -> Headwater:
    (tmp_path / "headwater.toml").write_text("[limits]\nrequests_per_minute = 1\n")
    return Headwater(config=tmp_path / "headwater.toml")


async def sent(response: Any) -> tuple[int, dict[bytes, bytes], bytes]:
    """What a reader who stays gets of a response."""
    messages: list[Message] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        messages.append(message)

    await response({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send)
    body = b"".join(message.get("body", b"") for message in messages)
    return messages[0]["status"], dict(messages[0]["headers"]), body


async def words() -> Any:
    yield "a"


def test_a_route_of_ones_own(hw: Headwater) -> None:
    async def scenario() -> None:
        for principal, x in (("ann", "hi"), ("bob", "hi"), (None, "hi"), ("own", None)):
            model = None if x is None else MODEL
            first = await sent(hw.response(x or words(), principal=principal, model=model))
            assert (first[0], first[2][-14:]) == (200, b"data: [DONE]\n\n")
            status, headers, body = await sent(
                hw.response(x or words(), principal=principal, model=model)
            )
            assert (status, json.loads(body)["error"]["code"]) == (429, "rate_limited")
            assert 0 < int(headers[b"retry-after"]) <= 60
        await hw.aclose()

    asyncio.run(scenario())


def test_flask(hw: Headwater) -> None:
    app = Flask(__name__)

    @app.post("/stream")
    def stream() -> Any:
        return stream_response(hw, "hi", model=MODEL, principal=request.headers["x-user"])

    client = app.test_client()
    for user in ("ann", "bob"):
        first = client.post("/stream", headers={"X-User": user})
        assert (first.status_code, first.data[-14:]) == (200, b"data: [DONE]\n\n")
        refused = client.post("/stream", headers={"X-User": user})
        assert (refused.status_code, json.loads(refused.data)["error"]["code"]) == (
            429,
            "rate_limited",
        )
        assert 0 < int(refused.headers["Retry-After"]) <= 60
    hw.bridge().call(hw.aclose)
