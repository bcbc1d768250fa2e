"""Flask: a stream as the response of a plain route, and the routes to resume and stop it.

Right under gunicorn's gthread and gevent workers, waitress and Flask's own server: what blocks is
the request's own thread or greenlet; the streams run in one loop beside them.
"""

from __future__ import annotations

import inspect
from contextlib import ExitStack
from typing import Any

import msgspec

from headwater.adapters.heads import JSON_HEADERS, error_headers, make_request_id, stream_headers
from headwater.adapters.library import Library, Question
from headwater.adapters.reading import Reading, find
from headwater.adapters.wsgi import WsgiBody, reader_gone
from headwater.errors import ConfigurationError, HeadwaterError
from headwater.runtime import WIRES, wire_named
from headwater.streams import Opened
from headwater.wires.base import OnDisconnect, Wire

try:
    from flask import Flask, Response, request
except ImportError as missing:
    raise ConfigurationError(
        "headwater.adapters.flask needs Flask: pip install 'headwater[flask]'"
    ) from missing


def stream_response(
    hw: Library,
    x: Question,
    *,
    model: str | None = None,
    wire: str = "plain",
    owner: str | None = None,
    on_disconnect: OnDisconnect | None = None,
    **options: Any,
) -> Response:
    """A Flask response that streams the answer to `x`, or what the generator `x` yields.

    The arguments are those of `Headwater.response`. Errors known before the head is sent become
    statuses. Called in the request that it answers.
    """
    spoken = wire_named(wire)
    bridge = hw.bridge()
    policy = spoken.on_disconnect if on_disconnect is None else on_disconnect

    async def begin() -> tuple[Opened, ExitStack]:
        runtime = hw.runtime()
        stream = await runtime.generate(asked, principal=owner, on_disconnect=policy)
        opened = Opened(runtime.hub, stream.record, stream)
        with ExitStack() as hold:
            # Until the body is closed, so that none of the stages before it is without a reader.
            hold.enter_context(opened.held())
            await opened.before_head(spoken)
            return opened, hold.pop_all()

    try:
        asked = hw.asked(x, model, options, bridge.host.spawner())
        opened, hold = bridge.call(begin)
    except HeadwaterError as error:
        return _error(spoken, error)
    return _live(hw, Reading(opened, spoken), hold)


def mount(app: Flask, hw: Library, *, prefix: str = "") -> None:
    """Add `GET` and `DELETE {prefix}/v1/streams/{id}` to `app`: resume and stop.

    `Headwater(owner=fn)` is asked, with Flask's request, whose stream it may be; without `owner`
    only streams that were begun without one are served.
    """

    def serve(stream: str) -> Response:
        try:
            principal = _principal(hw)
            if request.method == "DELETE":
                hw.bridge().call(lambda: _stop(hw, stream, principal))
                return Response(status=204)
            return _read(hw, stream, principal)
        except HeadwaterError as error:
            return _error(WIRES["native"], error)

    rule = f"{prefix.rstrip('/')}/v1/streams/<stream>"
    app.add_url_rule(rule, "headwater_stream", serve, methods=["GET", "DELETE"])


def _principal(hw: Library) -> str | None:
    principal = hw.owner(request) if hw.owner is not None else None
    if inspect.isawaitable(principal):
        raise ConfigurationError("under Flask owner= must be a plain function, not a coroutine")
    return principal


async def _stop(hw: Library, stream: str, principal: str | None) -> None:
    await hw.runtime().hub.stop(stream, principal)


def _read(hw: Library, stream: str, principal: str | None) -> Response:
    headers = {name.lower(): value for name, value in request.headers.items()}
    query = request.args.to_dict()

    async def look() -> tuple[Reading, ExitStack]:
        reading = await find(hw.runtime(), stream, principal, headers=headers, query=query)
        hold = ExitStack()
        hold.enter_context(reading.opened.held())
        return reading, hold

    reading, hold = hw.bridge().call(look)
    if reading.state is None and not reading.finished:
        return _live(hw, reading, hold)
    hw.bridge().loop.call_soon_threadsafe(hold.close)
    if reading.state is not None:
        return Response(msgspec.json.encode(reading.state), headers=JSON_HEADERS)
    return Response(status=204, headers={"Headwater-Stream": stream})


def _live(hw: Library, reading: Reading, hold: ExitStack) -> Response:
    attach = reading.opened.reader(reading.wire, reading.options, reading.after)
    body = WsgiBody(hw.bridge(), attach, reader_gone(request.environ), hold)
    headers = stream_headers(reading.wire)
    headers["Headwater-Stream"] = reading.opened.record.stream
    headers["X-Request-Id"] = make_request_id()
    return Response(body, headers=headers, direct_passthrough=True)


def _error(wire: Wire, error: HeadwaterError) -> Response:
    request_id = make_request_id()
    body = msgspec.json.encode(wire.error(error, request_id))
    return Response(body, error.status, error_headers(error, request_id))
