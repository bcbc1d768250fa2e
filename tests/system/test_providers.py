"""Each dialect through a real server, with an upstream that plays its vendor."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from headwater.events import Event, ToolCallStart, encode
from headwater.providers.text import MADE
from headwater.testing import EOF, Answer, FaultyUpstream, Request, limited, reply, split
from tests.providers.recorded import ALL, MADE_ID, Recorded
from tests.server.serving import Served, ask, data_of, frames, serving
from tests.server.wires import outcome

pytestmark = pytest.mark.system

every_dialect = pytest.mark.parametrize("recorded", ALL, ids=[r.name for r in ALL])

KEYS = {"openai": "authorization", "responses": "authorization", "anthropic": "x-api-key"}
KEYS |= {"gemini": "x-goog-api-key", "ollama": "authorization"}


class Vendors:
    """One upstream for all: each dialect's base URL begins with its name."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.upstream = FaultyUpstream(self._answer)
        self.port = 0

    def _answer(self, request: Request) -> Answer:
        return self.answers[request.path.split("/")[1]]

    def config(self) -> str:
        root = self.upstream.url.removesuffix("/v1")
        return "".join(
            f'[providers.x-{r.name}]\nbase_url = "{root}/{r.name}"\ndialect = "{r.name}"\n'
            'api_key_env = "VENDOR_KEY"\n'
            for r in ALL
        )

    def ask(self, recorded: Recorded, answer: Answer, wire: str = "streams", **members: Any) -> Any:
        self.answers[recorded.name] = answer
        body = {
            "model": f"x-{recorded.name}/m",
            "messages": [{"role": "user", "content": "Why is the sky blue?"}],
            "stream": True,
            **members,
        }
        return ask(self.port, f"/v1/{wire}", body)


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendors]:
    vendors = Vendors()
    folder = tmp_path_factory.mktemp("providers")
    with contextlib.ExitStack() as stack:
        stack.enter_context(vendors.upstream)
        environ = {"VENDOR_KEY": "secret-of-the-vendor"}
        served: Served = stack.enter_context(
            serving(cwd=folder, config=vendors.config(), environ=environ)
        )
        vendors.port = served.port
        yield vendors
    assert "Traceback" not in served.output, served.output
    assert "secret-of-the-vendor" not in served.output


def answer_of(recorded: Recorded) -> Answer:
    return Answer(recorded.frames, headers=(("Content-Type", recorded.content_type),))


def said(body: bytes) -> list[Any]:
    """The events between the first and the last, ids of our own making apart."""
    values = [json.loads(data_of(frame)) for frame in frames(body)][1:-1]
    made = {v["call"] for v in values if str(v.get("call")).startswith(MADE)}
    text = json.dumps(values)
    for call in made:
        text = text.replace(call, MADE_ID)
    return list(json.loads(text))


def as_json(events: list[Event]) -> list[Any]:
    return [json.loads(encode(event)) for event in events]


@every_dialect
@pytest.mark.parametrize("size", [1, 50, None], ids=["1 byte", "50", "a frame a write"])
def test_an_answer(vendors: Vendors, recorded: Recorded, size: int | None) -> None:
    answer = answer_of(recorded)
    whole = vendors.ask(recorded, answer if size is None else split(answer, size))
    assert said(whole.body) == as_json(recorded.events)
    end = json.loads(data_of(frames(whole.body)[-1]))
    assert end["reason"] == recorded.outcome.reason
    assert end["usage"] == msgspec.to_builtins(recorded.outcome.usage)
    post = vendors.upstream.posts[-1]
    assert post.path.startswith(f"/{recorded.name}/")
    assert "secret-of-the-vendor" in post.headers[KEYS[recorded.name]]


@every_dialect
def test_a_cut_is_told(vendors: Vendors, recorded: Recorded) -> None:
    steps = [*recorded.frames[:4], EOF]
    cut = Answer(steps, headers=(("Content-Type", recorded.content_type),), framing="close")
    whole = vendors.ask(recorded, cut)
    assert outcome("native", whole.body) == "truncated"
    expected = [event for _, events in recorded.steps[:4] for event in events]
    assert said(whole.body) == as_json(expected)


@every_dialect
@pytest.mark.parametrize("status", [401, 403])
def test_our_key_is_not_the_callers(vendors: Vendors, recorded: Recorded, status: int) -> None:
    error = {"error": {"message": "bad key secret-of-the-vendor", "type": "authentication_error"}}
    refused = vendors.ask(recorded, reply(status, error), "chat/completions")
    assert refused.status == 502
    assert "secret-of-the-vendor" not in refused.body.decode()


@every_dialect
def test_a_rate_limit_is_handed_on(vendors: Vendors, recorded: Recorded) -> None:
    refused = vendors.ask(recorded, limited(7), "chat/completions")
    assert refused.status == 429
    assert refused.headers["retry-after"] == "7"


@every_dialect
def test_what_the_provider_refuses_is_the_callers(vendors: Vendors, recorded: Recorded) -> None:
    answer = reply(400, {"error": {"message": "the prompt is too long"}})
    refused = vendors.ask(recorded, answer, "chat/completions")
    assert refused.status == 400
    assert "too long" in refused.json["error"]["message"]


@pytest.mark.parametrize("recorded", ALL[1:], ids=[r.name for r in ALL[1:]])
def test_what_the_api_lacks_is_refused_unasked(vendors: Vendors, recorded: Recorded) -> None:
    before = len(vendors.upstream.posts)
    refused = vendors.ask(recorded, answer_of(recorded), logit_bias={"1": 2})
    assert refused.status == 400
    assert refused.json["error"]["param"] == "logit_bias"
    assert len(vendors.upstream.posts) == before


def test_calls_have_ids_of_their_own(vendors: Vendors) -> None:
    """Of a provider that gives none: two answers of one conversation never share an id."""
    ollama = next(r for r in ALL if r.name == "ollama")
    ids = set()
    for _ in range(2):
        body = vendors.ask(ollama, answer_of(ollama)).body
        events = [json.loads(data_of(frame)) for frame in frames(body)]
        ids |= {e["call"] for e in events if e["type"] == ToolCallStart.__struct_config__.tag}
    assert len([i for i in ids if i.startswith(MADE)]) == 2
