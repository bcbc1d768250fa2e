"""`/probe`: what it sends, what it echoes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.arrivals import assert_one_by_one, events, request
from tests.server.serving import Served, raw, serving

pytestmark = pytest.mark.system

KEY = {"Authorization": "Bearer secret-key"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = '[auth.keys]\nme = "env:ME"\n'
    cwd = tmp_path_factory.mktemp("probe")
    with serving(cwd=cwd, config=config, environ={"ME": "secret-key"}) as running:
        yield running


def probe(served: Served, query: str = "", **headers: str) -> tuple[Any, list[tuple[float, Any]]]:
    response = request(served.port, f"/probe?{query}", headers=KEY | headers)
    assert response.head.status == 200
    return response.head.headers, list(events(response))


def test_ticks_tell_when_they_were_sent_and_arrive_then(served: Served) -> None:
    headers, seen = probe(served, "ticks=8&every=100&size=100")
    kinds = [data["type"] for _, data in seen]
    assert kinds == ["probe-start", *["probe-tick"] * 8, "probe-end"]
    ticks = [(at, data) for at, data in seen if data["type"] == "probe-tick"]
    assert [data["tick"] for _, data in ticks] == list(range(8))
    assert {len(data["pad"]) for _, data in ticks} == {100}
    sent = [data["at"] / 1000 for _, data in ticks]
    assert all(at >= number / 10 for number, at in enumerate(sent))
    offset = ticks[0][0] - sent[0]
    assert_one_by_one([at for at, _ in ticks], [at + offset for at in sent])
    start = seen[0][1]
    assert start["response"]["headers"].items() <= headers.items()
    assert headers["headwater-stream"] == start["nonce"]


def test_the_request_is_echoed_without_its_credentials(served: Served) -> None:
    sent = {"X-Forwarded-For": "192.0.2.1", "Via": "1.1 a", "Last-Event-ID": "1-7", "Cookie": "c=d"}
    seen = probe(served, "ticks=0", **sent)[1][0][1]["request"]
    assert seen["http_version"] == "1.1"
    echoed = {"x-forwarded-for": "192.0.2.1", "via": "1.1 a", "last-event-id": "1-7"}
    assert echoed.items() <= seen["headers"].items()
    assert not {"authorization", "cookie", "x-api-key"} & set(seen["headers"])


def test_hints_can_be_left_out(served: Served) -> None:
    assert probe(served, "ticks=0")[0]["x-accel-buffering"] == "no"
    headers, _ = probe(served, "ticks=0&hints=0")
    assert "x-accel-buffering" not in headers
    assert headers["cache-control"] == "no-store"


def test_a_silence_has_no_heartbeat(served: Served) -> None:
    seen = probe(served, "ticks=1&silence=0.5")[1]
    assert [data["type"] for _, data in seen] == ["probe-start", "probe-tick", "probe-end"]
    assert seen[1][1]["at"] >= 500


def test_a_body_is_counted(served: Served) -> None:
    response = request(served.port, "/probe?ticks=0", "x" * 100_000, KEY)
    start = next(data for _, data in events(response))
    assert start["request"]["method"] == "POST"
    assert start["request"]["body_bytes"] == 100_002


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("tick=1", "Unknown parameter 'tick'"),
        ("ticks=x", "ticks must be an integer from 0 to 10000"),
        ("ticks=1.5", "ticks must be an integer"),
        ("every=-1", "every must be a number from 0 to 60000"),
        ("every=nan", "every must be a number"),
        ("silence=3601", "silence must be a number from 0 to 3600"),
        ("size=65537", "size must be an integer from 0 to 65536"),
        ("hints=2", "hints must be an integer from 0 to 1"),
        ("tag=a%0Ab", "tag must be"),
        ("ticks=100&size=65536", "ticks times size"),
        ("ticks=10000&every=60000", "ticks times every"),
    ],
)
def test_a_wrong_parameter_is_named(served: Served, query: str, message: str) -> None:
    head = f"GET /probe?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = raw(served.port, f"{head}Authorization: {KEY['Authorization']}\r\n\r\n".encode())
    assert answer.status == 400
    assert message in answer.error["message"]


def test_it_wants_a_key_where_there_are_keys(served: Served) -> None:
    answer = raw(
        served.port, b"GET /probe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert (answer.status, answer.error["code"]) == (401, "unauthorized")


def test_http_1_0_gets_it_unchunked(served: Served) -> None:
    head = f"GET /probe?ticks=2&every=1 HTTP/1.0\r\nAuthorization: {KEY['Authorization']}"
    answer = raw(served.port, f"{head}\r\nHost: localhost\r\n\r\n".encode())
    assert "transfer-encoding" not in answer.headers
    lines = [line for line in answer.body.decode().split("\n\n") if line]
    kinds = [json.loads(line.removeprefix("data: "))["type"] for line in lines]
    assert kinds == ["probe-start", "probe-tick", "probe-tick", "probe-end"]


def test_no_more_than_a_hundred_at_a_time(served: Served) -> None:
    held = [request(served.port, "/probe?silence=600", headers=KEY) for _ in range(100)]
    try:
        refused = request(served.port, "/probe", headers=KEY)
        refused.close()
        assert refused.head.status == 503
        assert refused.head.headers["retry-after"] == "5"
    finally:
        for response in held:
            response.close()
    # Those who leave make room.
    for _ in range(100):
        response = request(served.port, "/probe?ticks=0", headers=KEY)
        response.close()
        if response.head.status == 200:
            break
    assert response.head.status == 200
