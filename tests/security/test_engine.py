"""One request does not stop the embedded model for all: it is bounded, blamed and held off."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import HeadwaterError, RequestError
from headwater.generation import GenerationRequest
from headwater.providers.local import bounds
from headwater.providers.local.crashes import MOST, WITHIN_S, Crashes
from tests.helpers.arrivals import request
from tests.helpers.polling import eventually
from tests.helpers.servers import Server, is_running
from tests.server.serving import Answer, Reader, Served, ask, data_of, frames, serving
from tests.server.wires import outcome, text_of

pytestmark = pytest.mark.system

CONFIG = """
[auth.keys]
ann = "env:ANN"
bob = "env:BOB"
"""
KEYS = {"ANN": "the-key-of-ann-is-long", "BOB": "the-key-of-bob-is-long"}
ANN = {"Authorization": f"Bearer {KEYS['ANN']}"}
BOB = {"Authorization": f"Bearer {KEYS['BOB']}"}
LONG = "Write a long story about a river, from its spring to the sea."
BOUND_S = 60.0

needs_model = pytest.mark.usefixtures("embedded")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(cwd=tmp_path, config=CONFIG, environ=KEYS) as served:
        yield served


def said(served: Served, who: dict[str, str], **members: Any) -> Answer:
    body = {"prompt": "Say hi.", "max_tokens": 4, **members}
    return ask(served.port, "/v1/streams", body, who)


def the_child(served: Served) -> int:
    [child] = filter(is_running, Server(served.port, served.process).children())
    return child


# what is not sent to it


def form(schema: Any) -> dict[str, Any]:
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    }


def chain(levels: int, links: int) -> Any:
    """Definitions each of which points to the next so many times."""
    rules: dict[str, Any] = {
        f"r{n}": {"anyOf": [{"$ref": f"#/$defs/r{n + 1}"}] * links} for n in range(levels)
    }
    return {"$defs": {**rules, f"r{levels}": {"type": "string"}}, "$ref": "#/$defs/r0"}


def nested(levels: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def parts(count: int) -> Any:
    """A schema of so many parts."""
    return {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(count - 1)}}


SCHEMA = "response_format.json_schema.schema"
AMBIGUOUS = "\n".join(f"r{n} ::= r{n + 1} r{n + 1} | r{n + 1}" for n in range(30))
# What each did to the model before it was bounded, where it was not merely slow.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "60,000 parentheses": ({"grammar": "root ::= " + "(" * 60_000}, "grammar"),  # SIGSEGV
    "an ambiguous grammar": (  # held it for ever, and 6 GB
        {"grammar": f'root ::= r0\n{AMBIGUOUS}\nr30 ::= "a"?'},
        "grammar",
    ),
    "a grammar as JSON": ({"json_schema": {"type": "string"}}, "json_schema"),
    "vLLM's grammar": ({"guided_grammar": "root ::= x"}, "guided_grammar"),
    "vLLM's schema": ({"structured_outputs": {"json": {}}}, "structured_outputs"),
    "a penalty on 2**31 tokens": (  # 8 GB, and held it
        {"repeat_penalty": 1.5, "repeat_last_n": 2**31 - 1},
        "repeat_last_n",
    ),
    "DRY on 2**31 tokens": (  # 7 GB, and held it
        {"dry_penalty_last_n": 2**31 - 1, "dry_multiplier": 1},
        "dry_",
    ),
    "3,000 breakers": (  # held it
        {"dry_sequence_breakers": [chr(97 + n % 26) * 9 for n in range(3000)], "dry_multiplier": 1},
        "dry_",
    ),
    "a repeated pattern": (  # held it
        form({"type": "string", "pattern": "^((((a{0,100}){0,100}){0,100}){0,100})$"}),
        f"{SCHEMA}.pattern",
    ),
    "20,000 values": (form({"enum": [f"v{n}" for n in range(20_000)]}), SCHEMA),  # held for 11 s
    "2**30 readings": (form(chain(15, 4)), SCHEMA),
    "a recursive schema": (
        form({"properties": {"a": {"items": {"$ref": "#/properties/a"}}}}),
        SCHEMA,
    ),
    "an endless $ref": (form({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}), SCHEMA),
    "a $ref to nothing": (form({"$ref": "#/$defs/a"}), f"{SCHEMA}.$ref"),
    "another place's $ref": (form({"$ref": "https://127.0.0.1/x"}), f"{SCHEMA}.$ref"),
    "50 levels": (form(nested(50)), SCHEMA),
    "10**9 items": (form({"items": {}, "maxItems": 10**9}), f"{SCHEMA}.maxItems"),
    "10**9 characters": (form({"items": {"minLength": 10**9}}), f"{SCHEMA}.items.minLength"),
    "a name of 2,000 characters": (form({"properties": {"x" * 2000: {}}}), f"{SCHEMA}.properties"),
    "an object's schema": (
        {"response_format": {"type": "json_object", "schema": {"minItems": 10**9}}},
        "response_format.schema.minItems",
    ),
    "3,000 tools": (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}] * 3000},
        "tools",
    ),
    "a bias on all tokens": ({"logit_bias": {str(n): 1 for n in range(49_000)}}, "logit_bias"),
    "20,000 stops": ({"stop": ["x"] * 20_000}, "stop"),
    "4,000,000 characters": ({"prompt": "word " * 800_000}, "messages"),  # a core for 5 s
}


@needs_model
@pytest.mark.timeout(200)
def test_what_could_hold_or_crash_it_is_refused_by_name(served: Served) -> None:
    assert said(served, ANN).status == 200
    child = the_child(served)
    for what, (members, param) in REFUSED.items():
        answer = said(served, ANN, **members)
        assert answer.status == 400, (what, answer)
        assert answer.error["param"].startswith(param), (what, answer.error)
        assert answer.error["message"].startswith(answer.error["param"]), answer.error
    assert said(served, ANN).status == 200
    assert the_child(served) == child


def test_a_schema_within_the_bounds_is_sent() -> None:
    number = {"type": "integer", "minimum": 0, "maximum": 10}
    address = {"type": "object", "properties": {"pattern": {"type": "string"}, "nr": number}}
    schema = {
        "$defs": {"Address": address},
        "type": "object",
        "required": ["name", "home", "work"],
        "properties": {
            "name": {"type": "string", "maxLength": 100, "description": "x" * 5000},
            "home": {"$ref": "#/$defs/Address"},
            "work": {"anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}]},
            "tags": {"type": "array", "maxItems": 9, "items": {"enum": ["a", "b", 1, None]}},
        },
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    bounds.check(GenerationRequest(messages=[], options={**form(schema), "tools": [tool]}))
    bounds.check(GenerationRequest(messages=[], options=form(parts(bounds.MAX_PARTS))))
    with pytest.raises(RequestError):
        bounds.check(GenerationRequest(messages=[], options=form(parts(bounds.MAX_PARTS + 1))))


KEYWORDS = st.sampled_from(
    ["$ref", "$defs", "anyOf", "items", "properties", "enum", "const", "maxItems", "minimum", "x"]
)
VALUES = st.recursive(
    st.none() | st.integers() | st.sampled_from(["#/", "#/x", "#/$defs/x", "#/anyOf", "x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYWORDS, inner, max_size=4),
    max_leaves=40,
)


@given(VALUES, VALUES)
def test_any_schema_is_sent_or_refused(schema: Any, tools: Any) -> None:
    with contextlib.suppress(RequestError):
        bounds.check(GenerationRequest(messages=[], options={**form(schema), "tools": tools}))


# what crashes it all the same


class Held:
    """The model is stopped: what it is sent stays unread until `kill`."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._child = the_child(served)
        self._pool = ThreadPoolExecutor()
        self._sent = self._unread()
        os.kill(self._child, signal.SIGSTOP)

    def send(self, who: dict[str, str]) -> Future[Answer]:
        """A request that the model has when this returns."""
        before = self._unread()
        answer = self._pool.submit(said, self._served, who)
        eventually(lambda: self._unread() > before, "the request is sent", within_s=BOUND_S)
        return answer

    def kill(self) -> None:
        os.kill(self._child, signal.SIGKILL)
        self._pool.shutdown(wait=False)

    def _unread(self) -> int:
        """Connections to the child with bytes that it has not read."""
        fds = Path(f"/proc/{self._child}/fd").iterdir()
        own = {str(fd.readlink()) for fd in fds if fd.is_symlink()}
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ports = {row[1] for row in rows if f"socket:[{row[9]}]" in own and row[3] == "0A"}
        return sum(row[1] in ports and row[3] == "01" and row[4][9:] != "0" * 8 for row in rows)


def seams(body: bytes) -> int:
    return body.count(b'"type":"stream-repair"')


@needs_model
@pytest.mark.timeout(300)
def test_a_crash_is_blamed_on_one_request_and_costs_others_one_seam(served: Served) -> None:
    body = {"prompt": LONG, "max_tokens": 100, "temperature": 0}
    readers = [Reader(request(served.port, "/v1/streams", body, BOB)) for _ in range(2)]
    for reader in readers:
        reader.until(b"text-delta", 5)
    held = Held(served)
    other, guilty = held.send(BOB), held.send(ANN)
    held.kill()

    error = json.loads(data_of(frames(guilty.result(BOUND_S).body)[-1]))
    assert (error["type"], error["code"]) == ("stream-error", "upstream_error")
    assert "crashed on this request" in error["message"]
    assert error["retryable"] is False
    assert error["timing"]["attempts"] == 1

    answer = other.result(BOUND_S)
    assert (answer.status, seams(answer.body)) == (200, 0)
    assert outcome("native", answer.body) in ("stop", "length")
    for reader in readers:
        body_read = reader.rest()
        assert seams(body_read) == 1
        assert outcome("native", body_read) in ("stop", "length")
        assert text_of("native", body_read)


@needs_model
@pytest.mark.timeout(300)
def test_a_principal_that_crashed_it_twice_waits_and_others_do_not(served: Served) -> None:
    for _ in range(MOST):
        assert said(served, ANN).status == 200
        held = Held(served)
        guilty = held.send(ANN)
        held.kill()
        assert outcome("native", guilty.result(BOUND_S).body) == "upstream_error"
    refused = said(served, ANN)
    assert refused.status == 429
    assert refused.error["code"] == "rate_limited"
    assert 0 < int(refused.headers["retry-after"]) <= WITHIN_S
    assert said(served, BOB).status == 200


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def wait_of(crashes: Crashes, principal: str | None) -> float:
    try:
        crashes.check(principal)
    except HeadwaterError as error:
        return error.retry_after or 0.0
    return 0.0


def crash(crashes: Crashes, principal: str | None) -> None:
    crashes.suspect(principal, lambda: True)
    crashes.crashed()


def test_the_newest_that_was_sent_is_guilty() -> None:
    crashes = Crashes(Clock())
    old, new, answered = (crashes.suspect("x", lambda: True) for _ in range(3))
    unsent = crashes.suspect("y", lambda: False)
    crashes.clear(answered)
    crashes.crashed()
    assert [each.guilty for each in (old, new, answered, unsent)] == [False, True, False, False]
    crashes.crashed()  # of nothing that it was sent
    assert not old.guilty


def test_a_caller_that_leaves_at_once_is_counted_all_the_same() -> None:
    clock = Clock()
    crashes = Crashes(clock)
    for _ in range(MOST):
        suspect = crashes.suspect("ann", lambda: True)
        crashes.left(suspect)
        crashes.crashed()
    assert wait_of(crashes, "ann") > 0
    gone = crashes.suspect("bob", lambda: True)
    crashes.left(gone)
    clock.now += 5
    crashes.crashed()
    assert not gone.guilty


def test_the_wait_ends_a_minute_after_the_first_crash() -> None:
    clock = Clock()
    crashes = Crashes(clock)
    crash(crashes, None)
    clock.now += 20
    crash(crashes, None)
    assert wait_of(crashes, None) == WITHIN_S - 20
    assert wait_of(crashes, "ann") == 0
    clock.now += WITHIN_S - 20
    assert wait_of(crashes, None) == 0
    crash(crashes, None)  # the second one in a minute again
    assert wait_of(crashes, None) == 20
