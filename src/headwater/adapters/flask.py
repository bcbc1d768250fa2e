"""Flask: a stream as the response of a plain route, the routes to resume and stop it, the client.

Right under gunicorn's gthread and gevent workers, waitress and Flask's own server: what blocks is
the request's own thread or greenlet; the streams run in one loop beside them.
"""

from __future__ import annotations

from typing import Any, Unpack

from headwater import wires
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
from headwater.adapters.heads import (
    PLAYGROUND,
    SCRIPTS,
    error_answer,
    make_request_id,
    stream_headers,
)
from headwater.adapters.sockets import ReaderSocket
from headwater.adapters.wsgi import BridgedBody, WsgiBody
from headwater.errors import ConfigurationError, HeadwaterError
from headwater.requests.options import ResponseOptions
from headwater.requests.parsing import Question
from headwater.wires.base import Wire

try:
    from flask import Flask, Response, request, send_from_directory
except ImportError as missing:
    raise ConfigurationError(
        "headwater.adapters.flask needs Flask: pip install 'headwater[flask]'"
    ) from missing


def stream_response(
    hw: Library, question: Question, **options: Unpack[ResponseOptions]
) -> Response:
    """A Flask response that streams the answer to `question`, or what that generator yields.

    The arguments are those of `Headwater.response`. Errors known before the head is sent become
    statuses. Called in the request that it answers.
    """
    wire = wires.get(options.get("wire", "plain"))
    head = {
        "path": request.path,
        "key": request.headers.get("Idempotency-Key"),
        "after": request.headers.get("Last-Event-ID"),
    }
    try:
        held = hw.bridge().call(beginning(hw, "stream_response()", question, options, **head))
    except HeadwaterError as error:
        return _error(wire, error)
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
            return _error(wires.get("native"), error)

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
    headers = stream_headers(held.reading.format.wire) | answer_headers(held)
    return Response(body, headers=headers, direct_passthrough=True)


def _error(wire: Wire[Any], error: HeadwaterError) -> Response:
    return Response(*error_answer(wire, error, make_request_id()))
