"""`[limits]` as callers feel them: real servers, every wire, two principals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from headwater.testing import STALL, Answer, chat, chunk
from tests.server.serving import Answer as Answered
from tests.server.serving import ask
from tests.server.wires import EVERY_WIRE, PATHS, assert_refused, body_of, text_of
from tests.server.world import World, world

pytestmark = pytest.mark.system

KEYS = {"ANN": "key-of-ann", "BOB": "key-of-bob"}
ANN = {"Authorization": f"Bearer {KEYS['ANN']}"}
BOB = {"Authorization": f"Bearer {KEYS['BOB']}"}
HELD = Answer([chunk({"content": "abc"}), STALL])
CONFIG = """
    [auth.keys]
    ann = "env:ANN"
    bob = "env:BOB"
    [limits]
"""


def limited(cwd: Path, limits: str) -> Iterator[World]:
    with world(cwd, CONFIG + limits, **KEYS) as w:
        yield w


@pytest.fixture(scope="module")
def by_streams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    limits = "concurrent_streams = 1\nmax_output_tokens = 50"
    yield from limited(tmp_path_factory.mktemp("streams"), limits)


@pytest.fixture(scope="module")
def by_rate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield from limited(tmp_path_factory.mktemp("rate"), "requests_per_minute = 1")


@pytest.mark.parametrize("wire", EVERY_WIRE)
@pytest.mark.parametrize("stream", [True, False])
def test_one_too_many_is_429_before_the_head(wire: str, stream: bool, by_streams: World) -> None:
    held = by_streams.post(wire, by_streams.plan(HELD), ANN)
    held.until(b"abc")
    body = body_of(wire, "?", stream=stream)
    refused = ask(by_streams.port, PATHS[wire], body, ANN)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert refused.headers["content-type"] == "application/json"
    assert b"1 streams at once here (limits.concurrent_streams)" in refused.body
    assert_refused(wire, refused.body, "rate_limited")
    # Another principal is not held up, nor is who reads what there is.
    other = by_streams.post(wire, by_streams.plan(chat(["hi"])), BOB)
    assert text_of(wire, other.rest()) == "hi"
    path = f"/v1/streams/{held.stream}"
    assert ask(by_streams.port, path, headers=ANN | {"Accept": "application/json"}).status == 200
    assert ask(by_streams.port, path, headers=ANN, method="DELETE").status == 204
    held.rest()
    again = by_streams.post(wire, by_streams.plan(chat(["again"])), ANN)
    assert text_of(wire, again.rest()) == "again"


@pytest.mark.parametrize("wire", EVERY_WIRE)
def test_an_answer_is_not_asked_longer_than_it_may_be(wire: str, by_streams: World) -> None:
    member = "max_output_tokens" if wire == "responses" else "max_tokens"
    at = (lambda n: {"forwardedProps": {member: n}}) if wire == "agui" else (lambda n: {member: n})
    refused = ask(by_streams.port, PATHS[wire], body_of(wire, "?", **at(51)), BOB)
    assert refused.status == 400
    assert_refused(wire, refused.body, "invalid_request")
    assert b"At most 50 output tokens may be asked for here, not 51" in refused.body
    prompt = by_streams.plan(chat(["hi"]))
    by_streams.post(wire, prompt, BOB, **at(50)).rest()
    assert by_streams.asked(prompt).json["max_tokens"] == 50
    if wire != "anthropic":  # which cannot be asked without
        prompt = by_streams.plan(chat(["hi"]))
        by_streams.post(wire, prompt, BOB).rest()
        assert by_streams.asked(prompt).json["max_tokens"] == 50


def test_only_what_begins_is_counted(by_rate: World) -> None:
    """A request that is wrong, a repeat, a resume and a read cost nothing."""
    port = by_rate.port
    body = body_of("native", by_rate.plan(chat(["hi"])))
    assert ask(port, "/v1/streams", {"prompt": 1}, ANN).status == 400
    assert ask(port, "/v1/streams", body | {"n": 2}, ANN).status == 400
    key = ANN | {"Idempotency-Key": "k"}
    first = ask(port, "/v1/streams", body, key)
    assert first.status == 200
    refused = ask(port, "/v1/streams", body, ANN)
    assert refused.error["code"] == "rate_limited"
    assert 55 <= int(refused.headers["retry-after"]) <= 60
    stream = first.headers["headwater-stream"]
    repeated = ask(port, "/v1/streams", body, key)
    assert repeated.headers["headwater-stream"] == stream
    assert ask(port, "/v1/streams", body, ANN | {"Last-Event-ID": "1-1"}).status == 200
    assert ask(port, f"/v1/streams/{stream}", headers=ANN).status == 200
    assert ask(port, "/v1/streams", body, BOB).status == 200


def test_sdks_raise_their_own_error(by_streams: World) -> None:
    held = by_streams.post("plain", by_streams.plan(HELD), ANN)
    held.until(b"abc")
    url = f"http://127.0.0.1:{by_streams.port}"
    ask_openai = openai.OpenAI(base_url=f"{url}/v1", api_key=KEYS["ANN"], max_retries=0)
    ask_anthropic = anthropic.Anthropic(base_url=url, api_key=KEYS["ANN"], max_retries=0)
    with ask_openai, pytest.raises(openai.RateLimitError):
        ask_openai.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "?"}], stream=True
        )
    with ask_anthropic, pytest.raises(anthropic.RateLimitError):
        ask_anthropic.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "?"}]
        )
    path = f"/v1/streams/{held.stream}"
    assert ask(by_streams.port, path, headers=ANN, method="DELETE").status == 204


LONG = "word " * 20_000
_FUNCTION = {"name": "f", "arguments": "{}"}
_CALL = {"id": "c", "type": "function", "function": _FUNCTION}
_RESULT = {"role": "tool", "tool_call_id": "c", "content": "done"}
#: Where a request may hold what a model is to read.
TEXTS: dict[str, Any] = {
    "a text": {"before": [{"role": "user", "content": LONG}]},
    "a part": {"before": [{"role": "user", "content": [{"type": "text", "text": LONG}]}]},
    "a part besides its image": {
        "before": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/"}, "text": LONG}]}]
    },
    "a text that looks like data": {"before": [{"role": "user", "content": f"data:x;base64,{LONG}"}]},
    "a name": {"before": [{"role": "user", "content": "x", "name": LONG}]},
    "reasoning": {"before": [{"role": "assistant", "content": "x", "reasoning_content": LONG}]},
    "arguments": {
        "before": [
            {"role": "assistant", "tool_calls": [{**_CALL, "function": {**_FUNCTION, "arguments": f'{{"a":"{LONG}"}}'}}]},
            _RESULT,
        ]
    },
    "provider_data": {
        "before": [{"role": "assistant", "content": "x", "provider_data": [{"provider": "openai", "part": "item", "value": {"text": LONG}}]}]
    },
    "tools": {"tools": [{"type": "function", "function": {"name": "f", "description": LONG}}]},
    "a name in a schema": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"p" * 50_000: {}}}}}]},
    "response_format": {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object", "description": LONG}}}},
    "prediction": {"prediction": {"type": "content", "content": LONG}},
}  # fmt: skip


@pytest.fixture(scope="module")
def by_tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    users = "\n".join(f'u{n} = "env:U{n}"' for n in range(len(TEXTS) + 1))
    keys = {f"U{n}": f"the-key-of-user-{n}" for n in range(len(TEXTS) + 1)}
    config = f"[auth.keys]\n{users}\n[limits]\ntokens_per_minute = 1000"
    with world(tmp_path_factory.mktemp("tokens"), config, **keys) as w:
        yield w


def stopped(w: World, number: int, given: dict[str, Any]) -> Answered:
    """What a caller's next request is answered, after one that was stopped before its usage."""
    user = {"Authorization": f"Bearer the-key-of-user-{number}"}
    prompt = w.plan(HELD)
    members = {name: value for name, value in given.items() if name != "before"}
    messages = [*given.get("before", ()), {"role": "user", "content": prompt}]
    reader = w.post("native", prompt, user, messages=messages, **members)
    reader.until(b"abc")
    path = f"/v1/streams/{reader.stream}"
    assert ask(w.port, path, headers=user, method="DELETE").status == 204
    reader.rest()
    return ask(w.port, "/v1/streams", body_of("native", w.plan(chat(["hi"]))), user)


@pytest.mark.parametrize("where", TEXTS)
def test_all_text_of_a_request_counts_until_its_provider_has_counted(
    by_tokens: World, where: str
) -> None:
    answer = stopped(by_tokens, list(TEXTS).index(where), TEXTS[where])
    assert answer.error["code"] == "rate_limited"
    # 12,500 tokens or more, at 1,000 a minute.
    assert int(answer.headers["retry-after"]) > 600


def test_an_image_does_not_count_as_text(by_tokens: World) -> None:
    url = f"data:image/png;base64,{'A' * 100_000}"
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    answer = stopped(by_tokens, len(TEXTS), {"before": [image]})
    assert answer.status == 200, answer


def test_tokens_of_an_answer_are_paid_by_the_next(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 40, "completion_tokens": 60, "total_tokens": 100}
    with world(tmp_path, CONFIG + "tokens_per_minute = 50", **KEYS) as w:
        reader = w.post("native", w.plan(chat(["hi"], usage=usage)), ANN)
        reader.rest()
        refused = ask(w.port, "/v1/streams", body_of("native", "?"), ANN)
        # 50 are owed and one is to be there: at 50 a minute, a little more than a minute.
        assert refused.error["code"] == "rate_limited"
        assert 55 <= int(refused.headers["retry-after"]) <= 62
        assert w.post("native", w.plan(chat(["hi"])), BOB).rest()
