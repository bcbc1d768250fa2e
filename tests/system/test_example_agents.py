"""The examples of agents: what they say, call and find is read as it happens, resumed, stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from headwater.testing import DONE, MODELS, STALL, Answer, FaultyUpstream, Request, chat, chunk
from tests.helpers.arrivals import assert_one_by_one, events, request, token_times
from tests.helpers.examples import example
from tests.helpers.polling import eventually
from tests.server.serving import Reader, ask, data_of, frames, ids

pytestmark = pytest.mark.system

TOKENS = [f"token-{number}, " for number in range(8)] + ["天空 ", "🌊"]


def calling(**function: str) -> bytes:
    call = {"index": 0, "function": function}
    return chunk({"tool_calls": [{**call, "id": "c1", "type": "function"} if "name" in function else call]})  # fmt: skip


#: The first round of each run: something said, and a call whose arguments come in pieces.
LOOK = Answer(
    [
        chunk({"role": "assistant", "content": "Let me look. "}),
        calling(name="search", arguments=""),
        calling(arguments='{"words": '),
        calling(arguments='"kill -9"}'),
        chunk({}, "tool_calls"),
        DONE,
    ]
)
HELD = Answer([chunk({"role": "assistant", "content": "a"}), STALL])

#: By the prompt: what the model answers in each round.
ROUNDS: dict[str, list[Answer]] = {
    "tokens": [LOOK, chat(TOKENS, gap_s=0.1)],
    "first": [HELD],
    "second": [LOOK, HELD],
}


def answer(asked: Request) -> Answer:
    if asked.method == "GET":
        return MODELS
    messages = asked.json["messages"]
    [prompt] = [message["content"] for message in messages if message["role"] == "user"]
    done = [message for message in messages if message["role"] == "tool"]
    return ROUNDS[prompt][len(done)]


class Served(NamedTuple):
    port: int
    upstream: FaultyUpstream


@pytest.fixture(scope="module", params=["langchain_agent", "pydantic_agent"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with FaultyUpstream(answer) as upstream:
        environ = {"OPENAI_BASE_URL": upstream.url, "OPENAI_API_KEY": "k"}
        with example(request.param, environ) as server:
            yield Served(server.port, upstream)


def asked_for(served: Served, prompt: str) -> Reader:
    return Reader(request(served.port, "/agent", {"prompt": prompt}))


def test_what_it_says_calls_and_finds_comes_as_it_happens(served: Served) -> None:
    run = list(events(request(served.port, "/agent", {"prompt": "tokens"})))
    told: list[dict[str, Any]] = [event for _, event in run]
    [call] = [event["call"] for event in told if event["type"] == "tool-call-start"]
    assert told[1:7] == [
        {"type": "text-delta", "text": "Let me look. "},
        {"type": "tool-call-start", "call": call, "name": "search"},
        {"type": "tool-call-delta", "call": call, "arguments": '{"words": '},
        {"type": "tool-call-delta", "call": call, "arguments": '"kill -9"}'},
        {"type": "tool-call-end", "call": call},
        {"type": "tool-result", "call": call, "output": told[6]["output"]},
    ]
    assert "kill -9" in told[6]["output"]
    assert [event["text"] for event in told[7:-1]] == TOKENS
    assert (told[-1]["type"], told[-1]["reason"]) == ("stream-end", "stop")
    sent = token_times(served.upstream)
    assert_one_by_one([at for at, _ in run[7:-1]], sent)


@pytest.mark.parametrize("seen", ["tool-call-delta", "tool-result"])
def test_what_a_cut_took_is_read_from_where_it_was(served: Served, seen: str) -> None:
    """The agent works on meanwhile; whatever was seen, the rest is the rest."""
    reader = asked_for(served, "tokens")
    before = reader.until(f'"{seen}"'.encode())
    before = before[: before.rindex(b"\n\n") + 2]
    reader.leave()
    path = f"/ai/v1/streams/{reader.stream}"
    after = ask(served.port, path, headers={"Last-Event-ID": ids(before)[-1]})
    assert after.status == 200
    assert before + after.body == ask(served.port, path).body
    state = ask(served.port, path, headers={"Accept": "application/json"}).json
    assert (state["status"], state["text"]) == ("done", "Let me look. " + "".join(TOKENS))


@pytest.mark.parametrize("held", ["first", "second"])
def test_a_stop_cancels_the_agent(served: Served, held: str) -> None:
    """In the model's first answer, and in the one that has a tool's result before it."""
    reader = asked_for(served, held)
    reader.until(b'"text":"a"')
    asked = served.upstream.posts[-1]
    stopped = ask(served.port, f"/ai/v1/streams/{reader.stream}", method="DELETE")
    assert stopped.status == 204
    eventually(lambda: asked.freed_at is not None, "the upstream's freeing")
    end = json.loads(data_of(frames(reader.rest())[-1]))
    assert (end["type"], end["reason"]) == ("stream-end", "cancelled")
    assert served.upstream.posts[-1] is asked
