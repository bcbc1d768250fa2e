"""`/probe`: ticks that carry the time at which they were sent, so that a reader can see who holds
them back. It begins no stream and asks no provider.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headwater.adapters.asgi import disconnected
from headwater.adapters.response import REQUEST_ID
from headwater.errors import RequestError, UnavailableError
from headwater.requests.runtime import Runtime
from headwater.server.auth import Authenticator
from headwater.server.body import count_body
from headwater.server.operations import SSE, DescribedRoute, Operation
from headwater.settings import Settings
from headwater.sse import encode

# A doctor has three at a time. A probe is a timer and a socket: these bound what they hold open.
_MOST: Final = 100
_RETRY_S: Final = 5.0
# An hour of silence is what `proxy_read_timeout 3600s` allows.
_MAX_SILENCE_S: Final = 3600.0
_MAX_LASTING_S: Final = 3600.0
# In all: enough to fill the largest buffer of a proxy many times.
_MAX_BYTES: Final = 4 * 1024 * 1024
# How often a probe in its silence looks whether the server is stopping.
_LOOK_S: Final = 1.0

_TAG: Final = re.compile(r"[A-Za-z0-9._-]{0,64}", re.ASCII)

# What a proxy adds, and what must survive one. Credentials and cookies are not among them.
_ECHOED: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "cache-control",
        "cdn-loop",
        "connection",
        "content-length",
        "content-type",
        "forwarded",
        "headwater-on-disconnect",
        "host",
        "idempotency-key",
        "last-event-id",
        "te",
        "transfer-encoding",
        "user-agent",
        "via",
        "x-real-ip",
        "x-request-id",
    }
)
_ECHOED_KINDS: Final = ("x-forwarded-", "x-accel-", "x-amz", "x-envoy-", "x-vercel-", "cf-ray")


class Plan(msgspec.Struct, frozen=True):
    """What a probe was asked to send.

    `ticks` of `size` bytes of padding, `every` ms; before them `silence` seconds in which nothing
    is sent; `hints`: whether with the headers that tell proxies not to buffer and not to compress.
    """

    ticks: int = 20
    every: float = 100.0
    size: int = 0
    silence: float = 0.0
    hints: int = 1
    tag: str = ""

    @classmethod
    def parse(cls, query: QueryParams) -> Plan:
        """The plan in a query; `RequestError` names the parameter that is wrong."""
        for name in query:
            if name not in cls.__struct_fields__:
                known = ", ".join(cls.__struct_fields__)
                raise RequestError(f"Unknown parameter {name[:50]!r}: /probe takes {known}.")
        if _TAG.fullmatch(query.get("tag", "")) is None:
            raise RequestError("tag must be up to 64 of A-Z a-z 0-9 . _ -", param="tag")
        plan = cls(
            ticks=int(_number(query, "ticks", 20, 0, 10_000, whole=True)),
            every=_number(query, "every", 100, 0, 60_000),
            size=int(_number(query, "size", 0, 0, 65_536, whole=True)),
            silence=_number(query, "silence", 0, 0, _MAX_SILENCE_S),
            hints=int(_number(query, "hints", 1, 0, 1, whole=True)),
            tag=query.get("tag", ""),
        )
        if plan.ticks * plan.every > _MAX_LASTING_S * 1000:
            raise RequestError("ticks times every must be at most 3600000 ms.", param="ticks")
        if plan.ticks * plan.size > _MAX_BYTES:
            raise RequestError("ticks times size must be at most 4 MiB.", param="ticks")
        return plan


_GET: Final = Operation(
    "probe",
    "Ticks that say when they were sent",
    {200: {SSE: "Frame"}},
    ("invalid_request", "overloaded"),
    tuple(f"query.{name}" for name in Plan.__struct_fields__),
)
_POST: Final = _GET._replace(
    name="probe_body",
    summary="The same; a body of any kind is counted",
    errors=(*_GET.errors, "too_large"),
    body={"application/octet-stream": ""},
)


class Probe:
    """The endpoint. GET; POST with a body of any kind, which is counted and forgotten."""

    def __init__(
        self, settings: Settings, runtime: Callable[[], Runtime], auth: Authenticator
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._auth = auth
        self._running = 0

    def routes(self) -> list[DescribedRoute]:
        """What Starlette routes."""
        return [
            DescribedRoute("GET", "/probe", self, _GET),
            DescribedRoute("POST", "/probe", self, _POST),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await self._auth.principal(request, generates=False)
        plan = Plan.parse(request.query_params)
        if self._running >= _MOST:
            raise UnavailableError(
                "overloaded", f"{_MOST} probes are running; try again.", retry_after=_RETRY_S
            )
        self._running += 1
        try:
            received = 0
            if request.method == "POST":
                received = await count_body(request, self._settings.server.max_body_bytes)
            await self._answer(request, plan, received, send)
        finally:
            self._running -= 1

    async def _answer(self, request: Request, plan: Plan, received: int, send: Send) -> None:
        nonce = secrets.token_hex(16)
        headers = _headers(plan, nonce, request.scope.get(REQUEST_ID, ""))
        start = {
            "type": "probe-start",
            "nonce": nonce,
            "request": _seen(request, received),
            "response": {"headers": headers},
            "heartbeat_s": self._settings.server.heartbeat_s,
        }
        if request.method == "HEAD":
            await Response(headers=headers)(request.scope, request.receive, send)
            return
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        gone = asyncio.ensure_future(disconnected(request.receive))
        try:
            async for event in self._events(plan, start, gone):
                data = encode(msgspec.json.encode(event))
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()

    async def _events(
        self, plan: Plan, start: dict[str, Any], gone: asyncio.Future[None]
    ) -> AsyncIterator[dict[str, Any]]:
        """The events, each made when it is sent; fewer when the reader has gone, or we go."""
        began = time.monotonic()
        yield start
        first = began + plan.silence
        for number in range(plan.ticks):
            if not await self._until(first + number * plan.every / 1000, gone):
                return
            tick = {"type": "probe-tick", "tick": number, "at": _ms_since(began)}
            yield tick | ({"pad": _noise(plan.size)} if plan.size else {})
        if await self._until(first, gone):  # the silence of a probe without ticks
            yield {"type": "probe-end", "at": _ms_since(began)}

    async def _until(self, due: float, gone: asyncio.Future[None]) -> bool:
        """Wait until `due`; False when the reader has gone, or the server is to stop."""
        while (left := due - time.monotonic()) > 0:
            if self._runtime().hub.draining:
                return False
            await asyncio.wait((gone,), timeout=min(left, _LOOK_S))
            if gone.done():
                return False
        return not gone.done()


def _headers(plan: Plan, nonce: str, request_id: str) -> dict[str, str]:
    """The head of a stream, as readers of streams get it."""
    hints = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
    headers = {
        "Content-Type": "text/event-stream; charset=utf-8",
        **(hints if plan.hints else {"Cache-Control": "no-store"}),
        "X-Content-Type-Options": "nosniff",
        "Headwater-Stream": nonce,  # no stream: here it is one more header that must arrive
        "X-Request-Id": request_id,
    }
    return {name.lower(): value for name, value in headers.items()}


def _seen(request: Request, received: int) -> dict[str, Any]:
    """The request as it was when it came here."""
    return {
        "method": request.method,
        "http_version": request.scope["http_version"],
        "scheme": request.scope["scheme"],
        "headers": _echo(request.headers),
        "body_bytes": received,
    }


def _echo(headers: Headers) -> dict[str, str]:
    echo: dict[str, str] = {}
    for name, value in headers.items():
        if name in _ECHOED or name.startswith(_ECHOED_KINDS):
            echo[name] = f"{echo[name]}, {value}" if name in echo else value
    return echo


def _noise(size: int) -> str:
    """`size` characters that no compression makes much smaller."""
    return secrets.token_urlsafe(size)[:size]


def _ms_since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 3)


def _number(
    query: QueryParams, name: str, default: int, least: int, most: float, *, whole: bool = False
) -> float:
    text = query.get(name)
    if text is None:
        return default
    pattern = r"\d{1,9}" if whole else r"\d{1,9}(\.\d{1,9})?"
    if re.fullmatch(pattern, text, re.ASCII) is None or not least <= float(text) <= most:
        kind = "an integer" if whole else "a number"
        raise RequestError(f"{name} must be {kind} from {least} to {most:g}.", param=name)
    return float(text)
