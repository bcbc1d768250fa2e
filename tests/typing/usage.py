"""What users write, as type checkers see it: mypy with the rest of the tests, pyright by a test.

Never run. An `ignore` that is not needed is an error for both, so what must be refused is held too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from django.http import HttpRequest
from flask import Flask, Response
from starlette.types import ASGIApp

from headwater import Headwater, HeadwaterError
from headwater.adapters import django, flask
from headwater.adapters.response import StreamResponse
from headwater.adapters.writer import SyncWriter, Writer
from headwater.errors import RequestError
from headwater.events import Event, ReasoningDelta, StreamEnd, StreamError, TextDelta, Usage
from headwater.events.snapshot import Snapshot
from headwater.routing.models import ModelInfo
from headwater.transforms import redact, smooth


async def words() -> AsyncIterator[str]:
    yield "a"


def sync_words() -> Iterator[str | Event]:
    yield "a"
    yield ReasoningDelta("b")


async def save(answer: Snapshot) -> None:
    assert_type(answer.text, str)
    assert_type(answer.usage, Usage | None)
    assert_type(answer.stream, str)
    assert_type(answer.model, str)
    assert_type(answer.created, int)


def save_at_once(answer: Snapshot) -> None:
    assert_type(answer.metadata, dict[str, str])


def upper(text: str) -> str:
    return text.upper()


def responses(hw: Headwater) -> None:
    assert_type(hw.response("hi"), StreamResponse)
    hw.response([{"role": "user", "content": "hi"}], model="m", wire="ui", temperature=0.5)
    hw.response(words(), principal="me", on_disconnect="continue", on_end=save)
    hw.response(sync_words(), on_disconnect=30, on_end=save_at_once, metadata={"chat": "7"})
    hw.response("hi", transform=smooth("words"))
    hw.response("hi", transform=redact(["secret"]))
    hw.response("hi", transform=upper)
    assert_type(hw.resume("id", wire="ui", principal="me"), StreamResponse)
    assert_type(hw.asgi(), ASGIApp)


def refused(hw: Headwater) -> None:
    hw.response(5)  # type: ignore[arg-type]
    hw.response("hi", on_disconnect="never")  # type: ignore[arg-type]
    hw.response("hi", metadata={"chat": 7})  # type: ignore[dict-item]
    hw.response("hi", on_end=len)  # type: ignore[arg-type]
    hw.response("hi", metdata={"chat": "7"})  # type: ignore[call-arg]
    hw.response("hi", temperature="hot")  # type: ignore[arg-type]
    hw.stream("hi", wire="ui")  # type: ignore[call-arg]
    Headwater(stores="redis://")  # type: ignore[call-arg]


async def events(hw: Headwater) -> None:
    async for event in hw.stream("hi", model="m"):
        match event:
            case TextDelta():
                assert_type(event.text, str)
            case StreamEnd():
                assert_type(event.usage, Usage | None)
            case StreamError():
                assert_type(event.message, str)
                assert_type(event.retryable, bool)
            case _:
                pass
    for sync_event in hw.stream_sync(sync_words()):
        assert_type(sync_event, Event)
    assert_type(await hw.models(), list[ModelInfo])
    await hw.stop("id", principal="me")
    await hw.drain(5.0)


async def writing(hw: Headwater) -> None:
    async with hw.start(principal="me", metadata={"chat": "7"}) as s:
        assert_type(s, Writer)
        assert_type(s.id, str)
        await s.text("a")
        s.end("length", usage=Usage(input_tokens=1, output_tokens=2))
        s.end("over")  # type: ignore[arg-type]
    with hw.start() as sync:
        assert_type(sync, SyncWriter)
        sync.text("a")


def errors(hw: Headwater) -> None:
    try:
        hw.response("hi")
    except RequestError as error:
        assert_type(error.param, str | None)
    except HeadwaterError as error:
        assert_type(error.code, str)
        assert_type(error.status, int)
        assert_type(error.retryable, bool)
        assert_type(error.retry_after, float | None)


def in_flask(app: Flask, hw: Headwater) -> None:
    assert_type(flask.stream_response(hw, "hi", model="m", on_end=save), Response)
    flask.mount(app, hw, prefix="/ai")


async def in_django(hw: Headwater, request: HttpRequest) -> None:
    django.stream_response(hw, "hi", request=request)
    await django.astream_response(hw, words())
    django.mount(hw)
