"""`timing.queue` counts from the request's arrival, in an app's own route too."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headwater import Headwater

WAITED_S = 0.1


def test_what_a_host_waits_before_it_sends_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def words() -> AsyncIterator[str]:
        yield "Hi"

    async def scenario() -> None:
        hw = Headwater()
        response = hw.response(words(), wire="native")
        time.sleep(WAITED_S)  # middleware that is slow
        sent: list[bytes] = []

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
        await response(scope, receive, send)
        last = b"".join(sent).rpartition(b"data: ")[2]
        assert json.loads(last)["timing"]["queue"] >= WAITED_S * 1000
        await hw.aclose()

    asyncio.run(scenario())
