"""Flask: a stream as the response of a plain route, the routes to resume and stop it, the client.

Right under gunicorn's gthread and gevent workers, waitress and Flask's own server: what blocks is
the request's own thread or greenlet; the streams run in one loop beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.adapters.bridged import (
    Held,
    Library,
    answer_headers,
    beginning,
    looked_at,
    principal_of,
    settled,
    stopped,
)
from headwater.adapters.heads import error_answer, make_request_id, stream_headers
from headwater.adapters.scripts import PLAYGROUND, SCRIPTS
from headwater.adapters.sockets import ReaderSocket
from headwater.adapters.wsgi import BridgedBody, WsgiBody
from headwater.errors import ConfigurationError, HeadwaterError
from headwater.requests.library import Question, Wish
from headwater.requests.runtime import WIRES, wire_named
from headwater.streams.ending import OnEnd
from headwater.transforms import Change, Transforms
from headwater.wires.base import OnDisconnect, Wire

try:
    from flask import Flask, Response, request, send_from_directory
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
    principal: str | None = None,
    chat: str | None = None,
    on_disconnect: OnDisconnect | None = None,
    on_end: OnEnd | None = None,
    transform: Transforms | Change | None = None,
    metadata: Mapping[str, str] | None = None,
    **options: Any,
) -> Response:
    """A Flask response that streams the answer to `x`, or what the generator `x` yields.

    The arguments are those of `Headwater.response`. Errors known before the head is sent become
    statuses. Called in the request that it answers.
    """
    spoken = wire_named(wire)
    key = request.headers.get("Idempotency-Key")
    wish = Wish(principal, chat, on_disconnect, on_end, transform, metadata, request.path, key)
    try:
        held = hw.bridge().call(beginning(hw, x, spoken, model, options, wish))
    except HeadwaterError as error:
        return _error(spoken, error)
    return _answer(hw, held)


def mount(app: Flask, hw: Library, *, prefix: str = "") -> None:
    """Add `GET` and `DELETE {prefix}/v1/streams/{id}` to `app`: resume and stop.

    And the browser's client, `{prefix}/headwater.js` and its parts.

    `Headwater(principal=fn)` names the principal of Flask's request. Without it, only streams
    without a principal are served.
    """

    def serve(stream: str) -> Response:
        try:
            principal = principal_of(hw, request)
            if request.method == "DELETE":
                stopped(hw, stream, principal)
                return Response(status=204)
            return _read(hw, stream, principal)
        except HeadwaterError as error:
            return _error(WIRES["native"], error)

    def script(name: str) -> Response:
        return send_from_directory(PLAYGROUND, name, mimetype="text/javascript")

    base = prefix.rstrip("/")
    rule = f"{base}/v1/streams/<stream>"
    app.add_url_rule(rule, "headwater_stream", serve, methods=["GET", "DELETE"])
    app.add_url_rule(
        f"{base}/<any({', '.join(map(repr, SCRIPTS))}):name>", "headwater_script", script
    )


def _read(hw: Library, stream: str, principal: str | None) -> Response:
    headers = {name.lower(): value for name, value in request.headers.items()}
    query = request.args.to_dict()
    return _answer(hw, looked_at(hw, stream, principal, headers=headers, query=query))


def _answer(hw: Library, held: Held) -> Response:
    whole = settled(held)
    if whole is not None:
        return Response(*whole)
    waiter = hw.bridge().host.waiter()
    socket = ReaderSocket.shown(request.environ)
    body = WsgiBody(BridgedBody(hw.bridge(), held, waiter, socket), waiter, socket)
    headers = stream_headers(held.reading.wire) | answer_headers(held)
    return Response(body, headers=headers, direct_passthrough=True)


def _error(wire: Wire, error: HeadwaterError) -> Response:
    return Response(*error_answer(wire, error, make_request_id()))
