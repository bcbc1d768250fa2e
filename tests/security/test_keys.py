"""Keys: short ones warn, wrong ones are answered late, odd ones tell nothing."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headwater.server import guesses
from headwater.server.guesses import Guesses
from tests.server.serving import ask, serving

pytestmark = pytest.mark.system

LONG, SHORT = "a key of more than 16 characters", "fifteen-letters"
SHA = {key: f"sha256:{hashlib.sha256(key.encode()).hexdigest()}" for key in (LONG, SHORT)}
BOUND_S = 10.0


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_short_key_is_warned_of_at_start(tmp_path: Path) -> None:
    config = '[auth.keys]\nshort = "env:SHORT"\nlong = "env:LONG"\n'
    with serving(cwd=tmp_path, config=config, environ={"SHORT": SHORT, "LONG": LONG}) as served:
        served.line(r"auth\.keys\.short: .*16 characters.*next release")
        for key in (SHORT, LONG):
            assert ask(served.port, "/v1/streams", headers=bearer(key)).status == 200
    assert "auth.keys.long" not in served.output
    assert SHORT not in served.output


def test_a_short_key_of_which_the_digest_is_known_is_warned_of_once_it_is_sent(
    tmp_path: Path,
) -> None:
    config = f'[auth.keys]\nshort = "{SHA[SHORT]}"\nlong = "{SHA[LONG]}"\n'
    with serving(cwd=tmp_path, config=config) as served:
        assert "16 characters" not in served.output
        for key in (LONG, SHORT, SHORT):
            assert ask(served.port, "/v1/streams", headers=bearer(key)).status == 200
        served.line(r"auth\.keys\.short: .*16 characters")
    assert served.output.count("16 characters") == 1


UTF8 = "clé-de-plus-de-16-caractères".encode().decode("latin-1")
ODD = ["é", "é" * 43, "\xff\xfe", UTF8 + "x", "a" * 8_000, "ключ".encode().decode("latin-1"), "."]


def test_odd_keys_and_cookies_are_401_and_tell_nothing(tmp_path: Path) -> None:
    config = '[auth.keys]\nweb = "env:WEB"\n'
    key = "clé-de-plus-de-16-caractères"
    with serving(cwd=tmp_path, config=config, environ={"WEB": key}) as served:

        def refused(headers: dict[str, str], body: object = None) -> str:
            path = "/v1/streams" if body is None else "/v1/session"
            answer = ask(served.port, path, body, headers)
            assert answer.status == 401, (headers, body)
            return str(answer.error["message"])

        asked: list[dict[str, str]] = []
        for odd in ODD:
            asked += [bearer(odd), {"x-api-key": odd}, {"Cookie": odd}]
            asked += [{"Cookie": f"{name}headwater_session={odd}"} for name in ("", "__Host-")]
        with ThreadPoolExecutor(len(asked)) as pool:  # at once, since most of them wait for 2 s
            assert len(set(pool.map(refused, asked))) == 1
            assert len(set(pool.map(lambda odd: refused({}, {"key": odd}), ODD))) == 1
        for broken in (b'{"key": "\\ud800"}', b'{"key": "\xff"}'):
            assert ask(served.port, "/v1/session", broken).status in (400, 401)
        # The same key, as UTF-8 in a header and in JSON.
        assert ask(served.port, "/v1/streams", headers=bearer(UTF8)).status == 200
        assert ask(served.port, "/v1/session", {"key": key}).status == 204
    assert "Traceback" not in served.output


def test_wrong_keys_wait_and_the_right_one_does_not(tmp_path: Path) -> None:
    """All from one address, as behind a proxy."""
    config = f'[auth.keys]\nweb = "{SHA[LONG]}"\n'
    with serving(cwd=tmp_path, config=config) as served:
        answered: list[int] = []

        def guess() -> None:
            answered.append(ask(served.port, "/v1/streams", headers=bearer("guess")).status)

        with ThreadPoolExecutor(12) as pool:  # beyond these every one waits the longest time
            for _ in range(12):
                pool.submit(guess)
        threads = [threading.Thread(target=guess) for _ in range(20)]
        for thread in threads:
            thread.start()
        assert ask(served.port, "/v1/streams", headers=bearer(LONG)).status == 200
        assert ask(served.port, "/v1/session", {"key": LONG}).status == 204
        assert ask(served.port, "/healthz").status == 200
        # Right keys were answered while wrong ones, sent before them, waited for 2 s.
        assert len(answered) < 32
        for thread in threads:
            thread.join(BOUND_S)
        assert answered == [401] * 32


def test_waits_grow_and_are_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    now = 1000.0

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    counted = Guesses()

    def wrong(address: str, times: int) -> list[float]:
        waits.clear()
        for _ in range(times):
            asyncio.run(counted.wrong(address))
        return list(waits)

    assert wrong("one", 5) == []
    assert wrong("one", 8) == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert wrong("two", 5) == []
    now += 60
    assert len(wrong("one", 1)) == 1
    now += 600
    assert wrong("one", 5) == []
    # From ever new addresses it is the count of all that grows; what is remembered is bounded.
    many = [wrong(f"{number}", 1) for number in range(guesses._ADDRESSES + 500)]
    assert many[:50] == [[]] * 50
    assert many[-1] == [2.0]
    assert len(counted._counts) <= guesses._ADDRESSES


def test_answers_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "_WAITING", 3)

    async def main() -> int:
        counted = Guesses()
        for _ in range(12):
            counted._delay("one", time.monotonic())
        tasks = [asyncio.create_task(counted.wrong("one")) for _ in range(10)]
        await asyncio.sleep(0.05)
        return sum(not task.done() for task in tasks)

    assert asyncio.run(main()) == 3
