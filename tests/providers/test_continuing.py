"""What a provider repeats of a given text is dropped, however it is cut; and nothing else is."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import HeadwaterError, RequestError
from headwater.events import ReasoningDelta, TextDelta
from headwater.generation import GenerationRequest, PartialText
from headwater.providers.anthropic import Messages
from headwater.providers.base import Continuation, Finish, Parser
from headwater.providers.continuing import Continuing
from headwater.providers.openai_chat import ChatCompletions
from headwater.settings import Endpoint
from headwater.testing import DONE, chunk

ASKED = GenerationRequest(
    messages=[{"role": "user", "content": "Why?"}], options={"max_tokens": 50, "seed": 1}
)
# Few characters, so that what is new often begins like what is old.
TEXTS = st.text("ab 🌊\n", max_size=12)


def parser_for(said: str, *, echoes: bool = True) -> Parser:
    dialect = ChatCompletions(echoes=echoes)
    asked = dialect.continuation("http://x/v1", None, ASKED, "m", PartialText(said))
    return Continuing(dialect, asked).parser("test", "text/event-stream")


def pieces(text: str, cuts: list[int]) -> list[str]:
    at = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in itertools.pairwise(at)]


def read(parser: Parser, parts: list[str], ending: bytes, *, one_read: bool) -> str:
    data = [chunk({"content": part}) for part in parts] + [ending]
    events = []
    for each in [b"".join(data)] if one_read else data:
        events += parser.feed(each)
    events += [] if parser.closed else parser.end()
    assert all(isinstance(event, TextDelta) and event.text for event in events)
    return "".join(event.text for event in events if isinstance(event, TextDelta))


WHOLE = chunk({}, "stop") + DONE


@given(said=TEXTS, new=TEXTS, cuts=st.lists(st.integers(0, 99)), one_read=st.booleans())
def test_an_echo_is_dropped_wherever_it_is_cut(
    said: str, new: str, cuts: list[int], one_read: bool
) -> None:
    assert read(parser_for(said), pieces(said + new, cuts), WHOLE, one_read=one_read) == new


@given(said=TEXTS, new=TEXTS, cuts=st.lists(st.integers(0, 99)), one_read=st.booleans())
def test_what_is_no_whole_echo_is_new(said: str, new: str, cuts: list[int], one_read: bool) -> None:
    known = parser_for(said, echoes=False)
    assert read(known, pieces(new, cuts), WHOLE, one_read=one_read) == new
    if not new.startswith(said):
        assert read(parser_for(said), pieces(new, cuts), WHOLE, one_read=one_read) == new


@given(said=TEXTS, came=st.integers(0, 12), cuts=st.lists(st.integers(0, 99)))
def test_cut_inside_an_echo_nothing_was_said(said: str, came: int, cuts: list[int]) -> None:
    parser = parser_for(said)
    assert read(parser, pieces(said[:came], cuts), b"", one_read=False) == ""
    assert isinstance(parser.outcome, HeadwaterError)


def test_thoughts_are_not_held_back_by_an_echo() -> None:
    parser = parser_for("It is")
    assert parser.feed(chunk({"reasoning_content": "Hm"})) == [ReasoningDelta("Hm")]
    assert parser.feed(chunk({"content": "It "})) == []
    assert parser.feed(chunk({"content": "is light"})) == [TextDelta(" light")]
    assert parser.feed(chunk({"content": "It is"})) == [TextDelta("It is")]
    parser.feed(WHOLE)
    assert isinstance(parser.outcome, Finish)


def body_of(asked: Continuation) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(asked.request.body)
    return body


ASSISTANT = {"role": "assistant", "content": "It is \n"}


@pytest.mark.parametrize(
    ("members", "message", "body"),
    [
        pytest.param(
            None, ASSISTANT, {"continue_final_message": True, "add_generation_prompt": False}
        ),
        pytest.param({"messages.prefix": True}, {**ASSISTANT, "prefix": True}, {}),
        pytest.param({}, ASSISTANT, {}),
    ],
    ids=["not said", "of the message", "none"],
)
def test_how_an_openai_compatible_provider_is_asked(
    members: dict[str, Any] | None, message: dict[str, Any], body: dict[str, Any]
) -> None:
    said = PartialText("It is \n", tokens=20)
    asked = ChatCompletions(None, members).continuation("http://x/v1", "k", ASKED, "m", said)
    sent = body_of(asked)
    assert sent.pop("messages") == [*ASKED.messages, message]
    assert {name: sent[name] for name in body} == body
    assert set(sent) == {"model", "stream", "stream_options", "max_tokens", "seed", *body}
    assert sent["max_tokens"] == 30
    assert asked.repeated == "It is \n"


def test_thoughts_are_sent_back_with_the_text() -> None:
    said = PartialText("It", reasoning="Hm.")
    sent = body_of(ChatCompletions().continuation("http://x/v1", "k", ASKED, "m", said))
    assert sent["messages"][-1]["reasoning_content"] == "Hm."


def test_anthropic_is_given_no_white_space_at_the_end_and_may_send_it_again() -> None:
    request = GenerationRequest(messages=ASKED.messages, options={"max_tokens": 50})
    said = PartialText("It is \n", tokens=1)
    asked = Messages().continuation("http://x/v1", "k", request, "m", said)
    assert body_of(asked)["messages"][-1] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "It is"}],
    }
    assert body_of(asked)["max_tokens"] == 49
    for new, wanted in [(" \nlight", "light"), (" light", "light"), ("light", "light")]:
        parser = Continuing(Messages(), asked).parser("test", "text/event-stream")
        delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": new}}
        stop = b'data: {"type":"message_stop"}\n\n'
        events = parser.feed(b"data: " + json.dumps(delta).encode() + b"\n\n" + stop)
        assert events == [TextDelta(wanted)]


def test_nothing_said_is_asked_anew() -> None:
    sent = body_of(ChatCompletions().continuation("http://x/v1", "k", ASKED, "m", PartialText("")))
    assert sent["messages"] == ASKED.messages
    assert "continue_final_message" not in sent


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_that_is_used_up(name: str) -> None:
    request = GenerationRequest(messages=ASKED.messages, options={name: 7})
    with pytest.raises(RequestError, match=f"{name} is used up: 7 of 7"):
        ChatCompletions().continuation(
            "http://x/v1", None, request, "m", PartialText("a", tokens=7)
        )


def test_the_defaults_are_those_of_the_settings() -> None:
    assert (Endpoint(base_url="x").continues, Endpoint(base_url="x").echoes) == (False, True)
