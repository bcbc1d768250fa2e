"""What a route was written wrong with is said where it was written; what a client sent, to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from flask import Flask
from pydantic import BaseModel

from headwater import Headwater
from headwater.adapters import flask as flask_adapter
from headwater.adapters.bridged import principal_of
from headwater.errors import ConfigurationError


class Prompt(BaseModel):
    prompt: str


async def agent() -> Any:
    yield "word"


async def answer() -> str:
    return "word"


@pytest.fixture
def hw(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Headwater:
    monkeypatch.chdir(tmp_path)
    return Headwater()


WRITTEN_WRONG = [
    (agent, {}, r"given a function; call it: agent\(…\)"),
    (Prompt(prompt="hi"), {}, "given a Prompt; give its member that holds the prompt"),
    (object(), {}, "given a object"),
    (b"hi", {}, "given a bytes; decode it"),
    (agent(), {"model": "m", "seed": 1}, "a generator takes no model, seed"),
    ("hi", {"wire": "opneai"}, "Unknown wire 'opneai'. Use one of native, plain, openai, "),
    ("hi", {"on_disconnect": "stop"}, 'on_disconnect= takes "cancel", "continue", or seconds, not '),
    ("hi", {"on_disconnect": -1}, 'on_disconnect= takes "cancel", "continue", or seconds from 0, not -1'),
    ("hi", {"on_disconnect": True}, "on_disconnect= takes .* not True"),
    ("hi", {"principal": 7}, r"principal= takes a string or None, not 7; str\(…\) makes it one"),
    ("hi", {"on_end": "save"}, "on_end= takes a function, not 'save'"),
    ("hi", {"transform": 3}, "transform= takes a function, not 3"),
    ("hi", {"metadata": "chat"}, "metadata= takes a dict from names to strings, not 'chat'"),
]  # fmt: skip


@pytest.mark.parametrize(("x", "given", "said"), WRITTEN_WRONG)
def test_a_mistake_of_the_app_is_raised_in_it(
    hw: Headwater, x: Any, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        hw.response(x, **given)


def test_a_coroutine_is_no_generator(hw: Headwater) -> None:
    with pytest.raises(ConfigurationError, match="given a coroutine; await it, or let it yield"):
        hw.response(answer())  # type: ignore[arg-type]


def test_an_answer_begun_elsewhere_is_no_exception(hw: Headwater) -> None:
    with pytest.raises(ConfigurationError, match="on_disconnect= takes"):
        hw.start(on_disconnect="stop")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="principal= takes a string"):
        hw.start(principal=7)  # type: ignore[arg-type]


def test_a_principal_that_is_no_string_is_refused_by_the_mounted_routes_too() -> None:
    with pytest.raises(ConfigurationError, match="principal= takes a string"):
        principal_of(Headwater(principal=lambda asking: 7), object())  # type: ignore[arg-type,return-value]


SENT_WRONG = [
    (None, {}, "A prompt is a string or a list of messages, not null."),
    (1.5, {}, "A prompt is a string or a list of messages, not a number."),
    ({"prompt": "hi"}, {}, "the whole body of a request goes in as RequestBody(body)."),
    ([{"role": "usr", "content": "hi"}], {}, "messages[0].role must be one of "),
    ("hi", {"temperature": "hot"}, "temperature must be a number, not a string."),
]


@pytest.mark.parametrize(("x", "given", "said"), SENT_WRONG)
def test_a_mistake_of_the_client_is_its_status(
    hw: Headwater, x: Any, given: dict[str, Any], said: str
) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(hw.response(x, **given)({"type": "http", "headers": []}, receive, send))
    assert sent[0]["status"] == 400
    assert said in sent[1]["body"].decode()

    app = Flask(__name__)
    with app.test_request_context("/stream", method="POST"):
        refused = flask_adapter.stream_response(hw, x, **given)
    assert refused.status_code == 400
    assert said in refused.get_data(as_text=True)
