"""A POST that comes twice: one generation, whatever repeats it."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.testing import STALL, Answer, FaultyUpstream, chat, chunk
from tests.helpers.arrivals import request
from tests.helpers.redis import empty_redis
from tests.server.serving import Reader, Served, ask, ids, serving
from tests.server.wires import PATHS, assert_refused, body_of, is_end, outcome, text_of

pytestmark = pytest.mark.system

TOKENS = ["Wo", "hin", " 🌊", " fließt", " er", "?"]


class World:
    def __init__(self, upstream: FaultyUpstream, served: Served) -> None:
        self.upstream = upstream
        self.port = served.port

    def post(self, wire: str, prompt: str, **headers: str) -> Reader:
        """A stream, its head read; an underscore in a header's name is a hyphen."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return Reader(request(self.port, PATHS[wire], body_of(wire, prompt), given, timeout_s=20))

    @property
    def generations(self) -> int:
        return len(self.upstream.posts)


@contextlib.contextmanager
def world(answer: Answer, cwd: Path, store: str = "memory://") -> Iterator[World]:
    with (
        FaultyUpstream(answer) as upstream,
        serving("--upstream", upstream.url, "--store", store, cwd=cwd) as served,
    ):
        yield World(upstream, served)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return empty_redis()
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 's.db'}"


# Idempotency-Key


def test_fault_34_the_same_key_gives_the_same_stream(store: str, tmp_path: Path) -> None:
    with world(chat(TOKENS, gap_s=0.05), tmp_path, store) as w:
        first = {wire: w.post(wire, "?", Idempotency_Key="k1") for wire in PATHS}
        for wire, reader in first.items():
            reader.until(b"\n\n", 2)
            second = w.post(wire, "?", Idempotency_Key="k1")  # while it runs
            assert second.stream == reader.stream
            assert second.rest() == reader.rest()
            third = w.post(wire, "?", Idempotency_Key="k1")  # when it has ended
            assert third.rest() == reader.body
        assert w.generations == len(PATHS)


def test_fault_34_the_same_json_written_otherwise_is_the_same(tmp_path: Path) -> None:
    with world(chat(TOKENS), tmp_path) as w:
        head = {"Idempotency-Key": "k", "Content-Type": "application/json"}
        one = ask(w.port, "/stream", b'{"prompt": "x", "temperature": 1}', head)
        two = ask(w.port, "/stream", b'{ "temperature":1, "prompt":"\\u0078" }', head)
        assert one.body == two.body
        assert w.generations == 1


def test_fault_34_another_body_is_a_conflict(store: str, tmp_path: Path) -> None:
    with world(chat(TOKENS), tmp_path, store) as w:
        for wire, path in PATHS.items():
            w.post(wire, "one", Idempotency_Key="k").rest()
            body = body_of(wire, "two")
            answer = ask(w.port, path, body, {"Idempotency-Key": "k"})
            assert answer.status == 409
            assert_refused(wire, answer.body, "idempotency_conflict")
            # With another key it is another request; and each path has keys of its own.
            assert ask(w.port, path, body, {"Idempotency-Key": "other"}).status == 200


def test_fault_34_a_hundred_at_once_make_one_generation(store: str, tmp_path: Path) -> None:
    with world(chat(TOKENS, gap_s=0.02), tmp_path, store) as w:
        bodies: list[bytes] = []

        def one() -> None:
            bodies.append(w.post("native", "?", Idempotency_Key="k").rest())

        threads = [threading.Thread(target=one) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(bodies) == 30
        assert len(set(bodies)) == 1
        assert w.generations == 1


def test_a_key_whose_request_could_not_begin_is_free_again(tmp_path: Path) -> None:
    with serving(cwd=tmp_path, config='[server]\ndefault_model = "gpt-5.5"\n') as served:
        for _ in range(2):  # no key of a provider: refused each time, not remembered
            answer = ask(served.port, "/stream", {"prompt": "x"}, {"Idempotency-Key": "k"})
            assert answer.status in (404, 503)


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tbed"])
def test_a_bad_key_is_refused(key: str, tmp_path: Path) -> None:
    with world(chat(TOKENS), tmp_path) as w:
        answer = ask(w.port, "/stream", {"prompt": "x"}, {"Idempotency-Key": key})
        assert answer.status == 400
        assert answer.error["param"] == "Idempotency-Key"


def test_the_whole_answer_too(tmp_path: Path) -> None:
    with world(chat(TOKENS), tmp_path) as w:
        body = {"messages": [{"role": "user", "content": "?"}]}
        answers = [
            ask(w.port, PATHS["openai"], body, {"Idempotency-Key": "k"}).json for _ in range(2)
        ]
        assert answers[0] == answers[1]
        assert answers[0]["choices"][0]["message"]["content"] == "".join(TOKENS)
        assert w.generations == 1


# POST with Last-Event-ID


def test_fault_54_a_repeated_post_resumes(store: str, tmp_path: Path) -> None:
    with world(chat(TOKENS, gap_s=0.05), tmp_path, store) as w:
        first = {wire: w.post(wire, "?") for wire in PATHS}
        for wire, reader in first.items():
            reader.until(b"id: ", 3)
            position = ids(reader.body)[1]
            second = w.post(wire, "?", Last_Event_ID=position)
            whole = reader.rest()
            mark = f"id: {position}\n".encode()
            behind = whole[whole.index(b"\n\n", whole.index(mark)) + 2 :]
            assert second.rest() == behind, wire
            assert second.stream == reader.stream
        assert w.generations == len(PATHS)


def test_a_repeated_post_of_any_position_resumes(tmp_path: Path) -> None:
    """Of its own wire's and of those that only another wire shows."""
    with world(chat(TOKENS), tmp_path) as w:
        for wire in PATHS:
            first = w.post(wire, "?")
            whole = first.rest()
            native = ids(ask(w.port, f"/v1/streams/{first.stream}").body)
            for position in native[:-1]:
                again = w.post(wire, "?", Last_Event_ID=position)
                path = f"/v1/streams/{first.stream}?wire={wire}&after={position}"
                assert again.rest() == ask(w.port, path).body, (wire, position)
                assert whole.endswith(again.body)
        assert w.generations == len(PATHS)


def test_at_its_end_a_repeated_post_gets_the_terminal_frames(tmp_path: Path) -> None:
    with world(chat(TOKENS), tmp_path) as w:
        for wire in PATHS:
            whole = w.post(wire, "?").rest()
            again = w.post(wire, "?", Last_Event_ID=ids(whole)[-1])
            assert again.head.status == 200
            body = again.rest()
            assert whole.endswith(body)
            assert outcome(wire, body) == is_end(wire, "stop")
        assert w.generations == len(PATHS)


def test_it_is_the_newest_stream_that_has_the_position(tmp_path: Path) -> None:
    with world(chat(TOKENS, gap_s=0.03), tmp_path) as w:
        first = w.post("native", "?")
        first.rest()
        second = w.post("native", "?")
        second.until(b"id: ", 2)
        resumed = w.post("native", "?", Last_Event_ID="1-2")
        assert resumed.stream == second.stream
        # A position that only the older one has.
        late = w.post("native", "?", Last_Event_ID=ids(first.body)[-2])
        assert late.stream in (first.stream, second.stream)
        for reader in (second, resumed, late):
            reader.rest()
        assert w.generations == 2


def test_no_match_is_one_error_and_no_generation(tmp_path: Path) -> None:
    with world(chat(TOKENS), tmp_path) as w:
        for wire in PATHS:
            w.post(wire, "?").rest()
            for prompt, position in (("?", "1-999"), ("?", "7-1"), ("never asked", "1-2")):
                lost = w.post(wire, prompt, Last_Event_ID=position)
                assert lost.head.status == 200
                assert lost.head.headers["content-type"] == "text/event-stream; charset=utf-8"
                told = lost.rest()
                assert (b"Last-Event-ID" in told, ids(told)) == (True, [])
        assert w.generations == len(PATHS)


@pytest.mark.parametrize("position", ["x", "1", "1-2-3", "-1-2", "9" * 40 + "-1"])
def test_fault_28_a_malformed_position_is_refused(position: str, tmp_path: Path) -> None:
    with world(chat(TOKENS), tmp_path) as w:
        answer = ask(w.port, "/stream", {"prompt": "x"}, {"Last-Event-ID": position})
        assert answer.status == 400
        assert w.generations == 0


# the session


KEY, OTHER = "sk-page-1234567890", "sk-other-1234567890"
KEYS = "".join(
    f'{name} = "sha256:{hashlib.sha256(key.encode()).hexdigest()}"\n'
    for name, key in (("page", KEY), ("other", OTHER))
)


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[World]:
    with (
        FaultyUpstream(Answer([chunk({"content": "Hi"}), STALL])) as upstream,
        serving("--upstream", upstream.url, cwd=tmp_path, config=f"[auth.keys]\n{KEYS}") as served,
    ):
        yield World(upstream, served)


def sign_in(w: World, key: Any) -> Any:
    return ask(w.port, "/v1/session", {"key": key}, method="POST")


def test_a_key_is_exchanged_for_a_cookie_that_scripts_cannot_read(keyed: World) -> None:
    answer = sign_in(keyed, KEY)
    assert answer.status == 204
    cookie = answer.headers["set-cookie"]
    value, *attributes = (part.strip() for part in cookie.split(";"))
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(attributes)
    assert KEY not in cookie
    answer = ask(keyed.port, "/v1/streams", headers={"Cookie": value})
    assert answer.status == 200
    # The stream belongs to the key's name, however it was shown.
    reader = Reader(request(keyed.port, "/v1/streams", {"prompt": "x"}, {"Cookie": value}))
    reader.until(b"text-delta")
    path = f"/v1/streams/{reader.stream}"
    json_please = {"Accept": "application/json"}
    bearer, foreign = {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"Bearer {OTHER}"}
    assert ask(keyed.port, path, headers=json_please | bearer).status == 200
    assert ask(keyed.port, path, headers=json_please | foreign).status == 404
    assert ask(keyed.port, path, headers=json_please).status == 401
    assert ask(keyed.port, path, headers={"Cookie": value}, method="DELETE").status == 204
    reader.rest()


@pytest.mark.parametrize("key", ["wrong", "", KEY + "x"])
def test_another_key_is_refused(keyed: World, key: str) -> None:
    assert sign_in(keyed, key).status == 401


@pytest.mark.parametrize("body", [{}, {"key": 7}, {"key": None}, {"key": ["x"]}])
def test_what_is_no_key_is_refused(keyed: World, body: dict[str, Any]) -> None:
    assert ask(keyed.port, "/v1/session", body or b"{}", method="POST").status == 400


def test_a_cookie_that_was_touched_is_worth_nothing(keyed: World) -> None:
    cookie = sign_in(keyed, KEY).headers["set-cookie"].partition(";")[0]
    name, _, value = cookie.partition("=")
    forged = [
        value[:-1] + ("A" if value[-1] != "A" else "B"),
        value[:-1],
        value + "A",
        value.swapcase(),
        "A" * 43,
        "",
        f"web.9999999999.{'0' * 64}",
        "é" * 43,
    ]
    for value in forged:
        header = {"Cookie": f"{name}={value}".encode().decode("latin-1")}
        assert ask(keyed.port, "/v1/streams", headers=header).status == 401, value


def test_a_page_of_another_site_cannot_use_it(keyed: World) -> None:
    cookie = sign_in(keyed, KEY).headers["set-cookie"].partition(";")[0]
    foreign = {"Cookie": cookie, "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    assert ask(keyed.port, "/v1/streams", headers=foreign).status == 403
    assert ask(keyed.port, "/v1/session", {"key": KEY}, foreign, method="POST").status == 403


def test_signing_out_ends_it(keyed: World) -> None:
    answer = ask(keyed.port, "/v1/session", method="DELETE")
    assert answer.status == 401 or "Max-Age=0" in answer.headers["set-cookie"]


def test_without_keys_there_is_nothing_to_sign_in_to(tmp_path: Path) -> None:
    with world(chat(TOKENS), tmp_path) as w:
        answer = sign_in(w, "anything")
        assert answer.status == 204
        assert "set-cookie" not in answer.headers


def test_a_reader_that_comes_late_has_it_all(store: str, tmp_path: Path) -> None:
    """Text, position and end are the same at once, and again after."""
    with world(chat(TOKENS, gap_s=0.01), tmp_path, store) as w:
        first = w.post("native", "?")
        began = time.monotonic()
        whole = first.rest()
        path = f"/v1/streams/{first.stream}"
        assert ask(w.port, path).body == whole
        assert text_of("native", whole) == "".join(TOKENS)
        assert time.monotonic() - began < 20
