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
from headwater.generation import GenerationRequest
from headwater.requests.parsing import parse


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


NO_SUCH_KEYWORD = [
    ({"metdata": {"chat": "7"}}, "takes no metdata=; did you mean metadata="),
    ({"on_ends": print}, "takes no on_ends=; did you mean on_end="),
    ({"temprature": 0.2}, "takes no temprature=; did you mean temperature="),
    ({"top_k": 5}, r"Other members of the request go into extra=\{…\}"),
]


@pytest.mark.parametrize(("given", "said"), NO_SUCH_KEYWORD)
def test_an_unknown_keyword_is_an_error_that_names_the_nearest(
    hw: Headwater, given: dict[str, Any], said: str
) -> None:
    async def first() -> None:
        async for _ in hw.stream("hi", **given):
            pass

    with pytest.raises(TypeError, match=said) as refused:
        hw.response("hi", **given)
    assert "extra={…}" in str(refused.value)
    with pytest.raises(TypeError, match=r"stream\(\) takes no"):
        asyncio.run(first())
    with pytest.raises(TypeError, match=r"stream_sync\(\) takes no"):
        next(iter(hw.stream_sync("hi", **given)))
    with Flask("app").test_request_context(), pytest.raises(TypeError, match="takes no"):
        flask_adapter.stream_response(hw, "hi", **given)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["top_k"], "extra= takes a dict of members, not a list"),
        ({"temperature": 1}, "'temperature' has a place of its own"),
        ({"messages": []}, "'messages' has a place of its own"),
    ],
)
def test_extra_holds_what_has_no_keyword(hw: Headwater, extra: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        hw.response("hi", extra=extra)


def test_members_of_extra_and_keywords_make_one_request() -> None:
    request = parse("hi", {"model": "m", "temperature": 0.2, "extra": {"top_k": 5}})
    assert isinstance(request.what, GenerationRequest)
    assert request.what.options == {"temperature": 0.2, "top_k": 5}
    assert request.what.model == "m"


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
