"""Applications of users, served by plain uvicorn: `tests.adapters.apps:NAME`.

What differs between the tests is asked for in the body, so that one process serves many of them.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from fastapi import Body, FastAPI
from litestar import Litestar, asgi
from litestar import get as litestar_get
from litestar import post as litestar_post
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from headwater import Headwater, RequestBody
from headwater.events import Event, ReasoningDelta, StreamEnd, TextDelta, ToolCallStart
from headwater.providers.iterator import Items

UPSTREAM = os.environ["TEST_UPSTREAM"]
hw = Headwater(upstream=UPSTREAM)


def by_header(request: Request) -> str | None:
    return request.headers.get("x-user")


async def by_header_later(request: Request) -> str | None:
    await asyncio.sleep(0)
    return request.headers.get("x-user")


owned = Headwater(upstream=UPSTREAM, principal=by_header)
owned_later = Headwater(upstream=UPSTREAM, principal=by_header_later)

#: What generators note: which of them were closed.
closed: list[str] = []


async def async_words() -> AsyncIterator[str]:
    for word in ("Was", "", "ser ", "🌊\u2028"):
        await asyncio.sleep(0)
        yield word


def sync_words() -> Iterator[str]:
    yield from ("Was", "", "ser ", "🌊\u2028")


async def events() -> AsyncIterator[str | Event]:
    yield ReasoningDelta("Hm")
    yield "Was"
    yield TextDelta("ser ")
    yield ToolCallStart("c1", "f")
    yield "🌊\u2028"


def nothing() -> list[str]:
    raise ValueError("hidden reason")


async def raising_at_once() -> AsyncIterator[str]:
    for word in nothing():
        yield word


async def raising_later() -> AsyncIterator[str]:
    yield "Was"
    await asyncio.sleep(0)
    raise ValueError("hidden reason")


def sync_raising_at_once() -> Iterator[str]:
    yield from nothing()


def sync_raising_later() -> Iterator[str]:
    yield "Was"
    raise ValueError("hidden reason")


async def cancelled_inside() -> AsyncIterator[str]:
    """What an agent's own cancelled task or time-out raises through it."""
    yield "Was"
    task = asyncio.ensure_future(asyncio.Event().wait())
    task.cancel()
    await task


def exiting() -> Iterator[str]:
    yield "Was"
    raise SystemExit(3)


def wrong(*items: Any) -> Callable[[], Any]:
    async def generate() -> AsyncIterator[Any]:
        yield "Was"
        for item in items:
            yield item

    return generate


async def empty() -> AsyncIterator[str]:
    for word in list[str]():
        yield word


async def halves() -> AsyncIterator[str]:
    for piece in ("Wasser \ud83c", "\udf0a", "\u2028"):
        yield piece


async def stalling() -> AsyncIterator[str]:
    try:
        yield "a"
        await asyncio.Event().wait()
    finally:
        closed.append("stalling")


def sync_stalling() -> Iterator[str]:
    try:
        while True:
            yield "a"
            threading.Event().wait(0.02)
    finally:
        closed.append("sync_stalling")


async def stalling_at_once() -> AsyncIterator[str]:
    try:
        await asyncio.Event().wait()
        yield "a"
    finally:
        closed.append("stalling_at_once")


async def greedy() -> AsyncIterator[str]:
    """Yields and never waits for anything."""
    for _ in range(50_000):
        yield "x"


async def async_exiting() -> AsyncIterator[str]:
    yield "Was"
    raise SystemExit(3)


class HeldOpen:
    """As an SDK's stream: opened before it is read, and closed by whoever does not read it."""

    async def __aiter__(self) -> AsyncIterator[str]:
        yield "Was"

    async def close(self) -> None:
        closed.append("held open")


class SyncHeldOpen:
    def __iter__(self) -> Iterator[str]:
        yield "Was"

    def close(self) -> None:
        closed.append("sync held open")


class BrokenIterable:
    def __iter__(self) -> Iterator[str]:
        raise ValueError("hidden reason")


GENERATORS: dict[str, Callable[[], Any]] = {
    "async": async_words,
    "sync": sync_words,
    "list iterator": lambda: iter(["Was", "ser ", "🌊\u2028"]),
    "tuple": lambda: ("Was", "ser ", "🌊\u2028"),
    "events": events,
    "halves": halves,
    "empty": empty,
    "raising at once": raising_at_once,
    "raising later": raising_later,
    "sync raising at once": sync_raising_at_once,
    "sync raising later": sync_raising_later,
    "cancelled inside": cancelled_inside,
    "exiting": exiting,
    "async exiting": async_exiting,
    "broken iterable": BrokenIterable,
    "yields None": wrong(None),
    "yields a number": wrong(5),
    "yields bytes": wrong(b"bytes"),
    "yields a list": wrong(["x"]),
    "yields the end": wrong(StreamEnd("stop", None, None)),  # type: ignore[arg-type]
    "yields odd JSON": wrong(ToolCallStart("c", 5)),  # type: ignore[arg-type]
    "stalling": stalling,
    "sync stalling": sync_stalling,
    "stalling at once": stalling_at_once,
    "greedy": greedy,
    "held open": HeldOpen,
    "sync held open": SyncHeldOpen,
    "number": lambda: 5,
    "none": lambda: None,
    "bytes": lambda: b"bytes",
}


def respond(body: dict[str, Any]) -> Response:
    options = {
        k: v
        for k, v in body.items()
        if k in ("wire", "model", "on_disconnect", "principal", "chat", "temperature")
    }
    if "body" in body:
        return hw.response(RequestBody(body["body"]), **options)
    if "generator" in body:
        items: Items = GENERATORS[body["generator"]]()
        return hw.response(items, **options)
    return hw.response(body["prompt"], **options)


async def notes(request: Request) -> Response:
    return JSONResponse(closed)


api = FastAPI()


@api.post("/respond")
async def api_respond(body: dict[str, Any] = Body(...)) -> Response:  # noqa: B008
    return respond(body)


@api.post("/respond-sync")
def api_respond_sync(body: dict[str, Any] = Body(...)) -> Response:  # noqa: B008
    return respond(body)  # FastAPI runs it in a thread of its pool


api.add_route("/notes", notes)
api.mount("/ai", hw.asgi())
api.mount("/owned", owned.asgi())
api.mount("/later-owned", owned_later.asgi())


async def starlette_respond(request: Request) -> Response:
    return respond(await request.json())


ROUTES = [
    Route("/respond", starlette_respond, methods=["POST"]),
    Route("/notes", notes),
    Mount("/ai", hw.asgi()),
    Mount("/owned", owned.asgi()),
    Mount("/later-owned", owned_later.asgi()),
]
bare = Starlette(routes=ROUTES)


async def passing(request: Request, call_next: RequestResponseEndpoint) -> Response:
    response = await call_next(request)
    response.headers["X-Passed"] = "yes"
    return response


wrapped = Starlette(
    routes=ROUTES,
    middleware=[
        Middleware(GZipMiddleware, minimum_size=1),
        Middleware(BaseHTTPMiddleware, dispatch=passing),
    ],
)


@litestar_post("/respond", status_code=200)
async def litestar_respond(data: dict[str, Any]) -> Response:
    return respond(data)


@litestar_get("/notes")
async def litestar_notes() -> list[str]:
    return closed


litestar = Litestar(
    [
        litestar_respond,
        litestar_notes,
        asgi("/ai", is_mount=True, copy_scope=True)(hw.asgi()),
        asgi("/owned", is_mount=True, copy_scope=True)(owned.asgi()),
        asgi("/later-owned", is_mount=True, copy_scope=True)(owned_later.asgi()),
    ]
)
