"""A legal body costs little, whatever is in it, and a refused one costs no more than its head."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import RequestError
from headwater.json_text import JsonBounds
from headwater.testing import Answer, FaultyUpstream, Request, chat, reply
from tests.conftest import Figures
from tests.faults.watching import BOUND_S, resident
from tests.helpers.arrivals import Response
from tests.helpers.polling import eventually
from tests.server.serving import Served, ask, serving
from tests.server.wires import body_of
from tests.server.world import World, world

MIB = 1024 * 1024

# the bounds


def counted(text: bytes, cuts: list[int]) -> tuple[int, int]:
    """What is counted of a text that comes in these pieces: its containers and structure."""
    bounds = JsonBounds()
    ends = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    for start, end in itertools.pairwise(ends):
        bounds.feed(text[start:end])
    assert (bounds._in_string, bounds._depth) == (False, 0)
    return bounds._containers, bounds._structure


def expected(value: Any) -> int:
    """The objects and lists of a value."""
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, (dict, list)):
        return 0
    return 1 + sum(expected(each) for each in inner)


def structure_of(text: bytes) -> int:
    """The bytes of a JSON text without those of its strings beyond the first 1,024."""
    size, at = 0, 0
    decoder = json.JSONDecoder()
    string = text.decode()
    while at < len(string):
        if string[at] == '"':
            _, end = decoder.raw_decode(string, at)
            size += min(len(string[at + 1 : end - 1].encode()), 1024) + 2
            at = end
        else:
            size, at = size + 1, at + 1
    return size


texts = (
    st.text()
    | st.text(alphabet='"\\[]{}a', max_size=20)
    | st.just("[" * 2000)
    | st.just("\\" * 1500)
)
values = st.recursive(
    texts | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(values, st.booleans(), st.lists(st.integers(0, 10**6), max_size=8))
def test_bounds_count_the_same_however_a_text_is_cut(
    value: Any, escaped: bool, cuts: list[int]
) -> None:
    text = json.dumps([value], ensure_ascii=escaped).encode(errors="replace")
    assert counted(text, cuts) == (expected([value]), structure_of(text))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param(b"[" * 128 + b"]" * 128, None, id="128 levels"),
        pytest.param(b"[" * 129 + b"]" * 129, "invalid_request", id="129 levels"),
        pytest.param(b"[" + b",".join([b"[]"] * 99_999) + b"]", None, id="100,000 lists"),
        pytest.param(b"[" + b",".join([b"{}"] * 100_000) + b"]", "too_large", id="one more"),
        pytest.param(b'["' + b"[" * 500_000 + b'"]', None, id="brackets of a text"),
        pytest.param(b"[" + b"0," * 500_000 + b"0]", None, id="1 MB of numbers"),
        pytest.param(b"[" + b"0," * 600_000 + b"0]", "too_large", id="1.2 MB of numbers"),
        pytest.param(b'["' + b"a" * 9 * MIB + b'"]', None, id="a long string"),
        pytest.param(b"[" + b'"' + b'a",' * 400_000 + b"0]", "too_large", id="many short strings"),
        pytest.param(b"[" + (b'"' + b"a" * 5000 + b'",') * 1100 + b"0]", "too_large", id="strings of 5 kB"),
        pytest.param(b"[" + (b'"' + b"a" * 5000 + b'",') * 900 + b"0]", None, id="fewer of them"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [64 * 1024, 1000, 10**9])
def test_the_bounds(text: bytes, code: str | None, piece: int) -> None:
    bounds, found = JsonBounds(), None
    try:
        for start in range(0, len(text), piece):
            bounds.feed(text[start : start + piece])
    except RequestError as error:
        found = error.code
    assert found == code


# a real server


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    limits = '[auth.keys]\nann = "env:ANN"\nbob = "env:BOB"\ncy = "env:CY"\n[limits]\nrequests_per_minute = 1\n'
    keys = {name: f"key-of-{name.lower()}-0123456789" for name in ("ANN", "BOB", "CY")}
    with world(tmp_path_factory.mktemp("limited"), limits, **keys) as running:
        yield running


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    def answer(asked: Request) -> Answer:
        models = {"data": [{"id": "test-model"}]}
        return reply(200, models) if asked.method == "GET" else chat(["a"])

    with (
        FaultyUpstream(answer) as upstream,
        serving("--upstream", upstream.url, cwd=tmp_path_factory.mktemp("free")) as served,
    ):
        yield served


ALMOST = 10 * MIB - 2000


def images() -> list[dict[str, Any]]:
    url = {"url": "data:image/png;base64," + "A" * 100_000}
    return [{"role": "user", "content": [{"type": "image_url", "image_url": url}] * 100}]


def body_with(filling: str) -> bytes:
    """A body whose tool has a list of these."""
    function = {"name": "f", "parameters": {"x": ["FILLING"]}}
    body = {"prompt": "hi", "tools": [{"type": "function", "function": function}]}
    return json.dumps(body).replace('"FILLING"', filling).encode()


#: Bodies that are legal, as large as they may be, and dear to decode, keep or send on.
LEGAL = {
    "one text": b'{"prompt": "%b"}' % (b"a" * ALMOST),
    "escapes": b'{"prompt": "%b"}' % (rb"\n" * (ALMOST // 2)),
    "escaped emoji": b'{"prompt": "%b"}' % (rb"\ud83d\ude00" * (ALMOST // 12)),
    "a text and one emoji": '{"prompt": "😀%s"}'.encode() % (b"a" * (ALMOST - 4)),
    "images": json.dumps({"messages": images()}).encode(),
    "containers": body_with(", ".join(["[]"] * 99_000)),
    "digits": body_with(", ".join(["1." + "9" * 700 + "e-300"] * 1400)),
}


@pytest.mark.system
@pytest.mark.parametrize("name", LEGAL)
def test_the_worst_legal_bodies_hold_up_nobody(free: Served, figures: Figures, name: str) -> None:
    """Eight at once; meanwhile the server answers others."""
    body = LEGAL[name]
    assert len(body) < 10 * MIB
    before, waits, done = resident(free.process.pid), [0.0], threading.Event()
    answers: list[int] = []

    def post() -> None:
        answer = ask(free.port, "/v1/streams", body, {"Headwater-On-Disconnect": "cancel"})
        answers.append(answer.status)

    def watch() -> None:
        while not done.is_set():
            began = time.monotonic()
            assert ask(free.port, "/healthz").status == 200
            waits.append(time.monotonic() - began)

    threads = [threading.Thread(target=post) for _ in range(8)]
    watcher = threading.Thread(target=watch)
    watcher.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    done.set()
    watcher.join(BOUND_S)
    assert answers == [200] * 8
    grown = resident(free.process.pid) - before
    figures(
        f"8 bodies of 10 MiB, {name}",
        f"/healthz {max(waits) * 1000:.0f} ms at most, {grown // MIB} MiB more",
    )
    assert max(waits) < 4.0
    assert grown < 600 * MIB


ILLEGAL = {
    "nested lists": b'{"prompt": "hi", "x": [%b]}' % b",".join([b"[[[[]]]]"] * 1_000_000),
    "numbers": b'{"prompt": "hi", "x": [%b0]}' % (b"0," * 5_000_000),
    "members": b'{"prompt": "hi", %b"x": 0}' % b"".join(b'"%x":0,' % n for n in range(900_000)),
}


@pytest.mark.system
@pytest.mark.parametrize("name", ILLEGAL)
def test_structure_beyond_the_bounds_is_413_and_costs_nothing(free: Served, name: str) -> None:
    before = resident(free.process.pid)
    for _ in range(4):
        answer = ask(free.port, "/v1/streams", ILLEGAL[name])
        assert (answer.status, answer.error["code"]) == (413, "too_large")
    assert resident(free.process.pid) - before < 20 * MIB


def status_of_a_head(port: int, key: str) -> int:
    """The answer to a request that announces 9 MB, of which nothing comes."""
    lines = ["POST /v1/streams HTTP/1.1", "Host: localhost", f"x-api-key: {key}"]
    head = "\r\n".join([*lines, "Content-Length: 9000000", "", ""]).encode()
    with socket.create_connection(("127.0.0.1", port), BOUND_S) as sock:
        sock.sendall(head)
        return Response(sock).head.status


@pytest.mark.system
def test_a_request_too_many_is_refused_by_its_head(w: World) -> None:
    ann = {"x-api-key": "key-of-ann-0123456789"}
    asked = {"prompt": w.plan(chat(["a"]))}
    first = ask(w.port, "/v1/streams", asked, ann | {"Idempotency-Key": "one"})
    assert first.status == 200
    assert status_of_a_head(w.port, "key-of-ann-0123456789") == 429
    assert status_of_a_head(w.port, "no-key-of-anyone-000") == 401
    # What repeats an earlier request is no new one.
    assert ask(w.port, "/v1/streams", asked, ann | {"Idempotency-Key": "one"}).body == first.body
    again = ask(w.port, "/v1/streams", asked, ann | {"Last-Event-ID": "1-1"})
    assert again.status in (200, 204)
    conflict = ask(w.port, "/v1/streams", {"prompt": "b"}, ann | {"Idempotency-Key": "one"})
    assert conflict.status == 409
    assert ask(w.port, "/v1/streams", asked, ann | {"Idempotency-Key": "two"}).status == 429


@pytest.mark.system
def test_a_request_that_is_refused_is_not_counted(w: World) -> None:
    bob = {"x-api-key": "key-of-bob-0123456789"}
    for body in (b"{", b'{"prompt": 1}', b'{"prompt": "hi", "n": 2}', b"[" * 1000):
        assert ask(w.port, "/v1/streams", body, bob).status == 400
    with socket.create_connection(
        ("127.0.0.1", w.port), BOUND_S
    ) as sock:  # and one that breaks off
        sock.sendall(
            b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nx-api-key: key-of-bob-0123456789\r\nContent-Length: 100\r\n\r\n{"
        )
    asked = {"prompt": w.plan(chat(["a"]))}
    # Until then the broken connection is not noticed.
    eventually(lambda: ask(w.port, "/v1/streams", asked, bob).status == 200, "admitted")
    assert ask(w.port, "/v1/streams", asked, bob).status == 429


@pytest.mark.system
def test_requests_that_race_for_one_key_are_one_request(w: World) -> None:
    """All but the first join its stream, and none of them is limited."""
    cy = {"x-api-key": "key-of-cy-0123456789", "Idempotency-Key": "raced"}
    asked = {"prompt": w.plan(chat(["a", "b"], gap_s=0.2))}
    first = w.post("native", asked["prompt"], cy)
    with ThreadPoolExecutor(8) as at_once:
        repeat = body_of("native", asked["prompt"])
        answers = list(at_once.map(lambda _: ask(w.port, "/v1/streams", repeat, cy), range(8)))
    whole = first.rest()
    assert [answer.status for answer in answers] == [200] * 8
    assert {answer.body for answer in answers} == {whole}
