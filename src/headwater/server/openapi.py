"""`/openapi.json`: the OpenAPI 3.1 document, generated from the routes and their operations.

Paths, methods, codes, sampling members, events and models come from the code that defines them.
Requests and whole answers are read and written by hand, so shapes.json describes them by hand;
tests hold it to the parsers and to real answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from http import HTTPStatus
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headwater import events, wires
from headwater.errors import STATUS
from headwater.events.snapshot import Failure, ToolCall
from headwater.providers.catalogue import load
from headwater.routing.models import ModelInfo
from headwater.server.operations import JSON, SSE, Described, Operation
from headwater.wires.members import CHAT_MEMBERS

_Schema = dict[str, Any]

_STRUCTS: Final = (events.Event, events.Usage, events.Timing, ToolCall, Failure, ModelInfo)
_HEADERS: Final = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}

OPERATION: Final = Operation(
    "openapi", "This document", {200: {JSON: "Document"}, 304: {}}, is_open=True
)


class Document:
    """Serves the document of these routes. The first request generates it; its bytes are kept."""

    def __init__(self, routes: list[Described]) -> None:
        self._routes = routes

    async def serve(self, request: Request) -> Response:
        """`GET /openapi.json`; `servers` is where the application is mounted."""
        prefix = msgspec.json.encode([{"url": request.scope.get("root_path") or "/"}])
        body = b'{"servers":%s,%s' % (prefix, self._encoded[1:])
        etag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
        headers = {**_HEADERS, "ETag": etag}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(body, headers={**headers, "Content-Type": JSON})

    @cached_property
    def _encoded(self) -> bytes:
        return msgspec.json.encode(document(self._routes))


def document(routes: Iterable[Described]) -> _Schema:
    """The OpenAPI document, without `servers`."""
    shapes = msgspec.json.decode((files("headwater.server") / "shapes.json").read_bytes())
    paths: _Schema = {}
    for route in routes:
        paths.setdefault(route.path_format, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {**shapes["info"], "version": version("headwater")},
        "security": [*({name: []} for name in shapes["securitySchemes"]), {}],
        "paths": paths,
        "components": {
            "schemas": _schemas(shapes["schemas"]),
            "parameters": {key: _parameter(key, it) for key, it in shapes["parameters"].items()},
            "headers": shapes["headers"],
            "responses": _errors(shapes["errors"]),
            "securitySchemes": shapes["securitySchemes"],
        },
    }


def _operation(route: Described) -> _Schema:
    operation = route.operation
    names = [f"path.{name}" for name in route.param_convertors]
    names += ["header.X-Request-Id", *operation.parameters]
    described: _Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [_ref("parameters", name) for name in names],
        "responses": {
            **{str(status): _answer(status, by) for status, by in operation.answers.items()},
            **{str(status): _ref("responses", _error(operation, status))
               for status in operation.statuses},
        },
    }  # fmt: skip
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _content(operation.body)}
    if operation.is_open:
        described["security"] = []
    return described


def _answer(status: int, by_type: Any) -> _Schema:
    names = ("X-Request-Id", "Headwater-Stream") if SSE in by_type else ("X-Request-Id",)
    answer: _Schema = {
        "description": HTTPStatus(status).phrase,
        "headers": {name: _ref("headers", name) for name in names},
    }
    return {**answer, "content": _content(by_type)} if by_type else answer


def _content(by_type: Any) -> _Schema:
    return {
        media_type: {"schema": _ref("schemas", schema) if schema else {"type": "string"}}
        for media_type, schema in by_type.items()
    }


def _error(operation: Operation, status: int) -> str:
    return f"{'Or'.join(operation.shapes)}{status}"


def _errors(sentences: dict[str, str]) -> _Schema:
    """A response for each status of an error and each shape; its description names the codes."""
    responses: _Schema = {}
    for shapes in (("Error",), ("MessagesError",), ("Error", "MessagesError")):
        bodies = [_ref("schemas", shape) for shape in shapes]
        for status in sorted(set(STATUS.values())):
            codes = [code for code in STATUS if STATUS[code] == status]
            responses[f"{'Or'.join(shapes)}{status}"] = {
                "description": " ".join(f"`{code}`: {sentences[code]}." for code in codes),
                "headers": {
                    name: _ref("headers", name) for name in ("X-Request-Id", "Retry-After")
                },
                "content": {JSON: {"schema": bodies[0] if len(bodies) == 1 else {"anyOf": bodies}}},
            }
    return responses


def _parameter(key: str, given: _Schema) -> _Schema:
    place, _, name = key.partition(".")
    return {"in": place, "name": name, **({"required": True} if place == "path" else {}), **given}


def _schemas(written: _Schema) -> _Schema:
    """The schemas of shapes.json, completed from the code, and those of the structs."""
    (event, *_), structs = msgspec.json.schema_components(
        _STRUCTS, ref_template="#/components/schemas/{name}"
    )
    sent = {name for names in load().members.values() for name in names}
    written["Members"]["properties"] = {
        **dict.fromkeys(sorted({*sent, *CHAT_MEMBERS}), True),
        **written["Members"]["properties"],
    }
    written["Error"]["properties"]["error"]["properties"]["code"]["enum"] = list(STATUS)
    written["Wire"]["enum"] = list(wires.names())
    return {**structs, "Event": event, **written}


def _ref(kind: str, name: str) -> _Schema:
    return {"$ref": f"#/components/{kind}/{name}"}
