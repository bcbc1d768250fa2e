"""What each route takes and answers.

A route cannot be made without its operation, from which `openapi` generates the document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from headwater.errors import STATUS
from headwater.wires.base import Wire

JSON: Final = "application/json"
SSE: Final = "text/event-stream"

#: Answers by status: the media type of each, and the schema of its body ("" for a text).
Answers = Mapping[int, Mapping[str, str]]

NO_CONTENT: Final[Answers] = {204: {}}

# Codes with which a generation may fail. A wire that waits for the first event answers them as a
# status, and so does every whole answer.
FAILURES: Final = (
    *("invalid_request", "model_not_found", "too_large", "rate_limited", "upstream_error"),
    *("truncated", "interrupted", "upstream_timeout", "provider_not_configured", "storage_failed"),
)
#: Codes of a request that reads a stream.
READING: Final = ("invalid_request", "not_found", "position_lost", "trimmed", *FAILURES)
#: Codes of a request that stops a stream.
STOPPING: Final = ("not_found", "trimmed", "stop_unconfirmed")
#: Codes of a request that begins a stream, or joins one.
BEGINNING: Final = ("idempotency_conflict", "overloaded", *READING)

_ANY: Final = ("forbidden", "internal")
_CREDENTIAL: Final = ("unauthorized", "store_unavailable")


class Operation(NamedTuple):
    """One method of one path.

    `name` is its operationId. `parameters` are keys of shapes.json, such as "header.Last-Event-ID";
    those of the path follow from the path. `body` maps media types to the schemas of the request's
    body. `errors` are the codes it may answer besides those of every route; `shapes` are the
    schemas of their bodies. An operation that `is_open` needs no credential.
    """

    name: str
    summary: str
    answers: Answers
    errors: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    body: Mapping[str, str] | None = None
    shapes: tuple[str, ...] = ("Error",)
    is_open: bool = False

    @property
    def codes(self) -> frozenset[str]:
        """Every code that it may answer."""
        return frozenset((*_ANY, *(() if self.is_open else _CREDENTIAL), *self.errors))

    @property
    def statuses(self) -> list[int]:
        """The statuses of its errors."""
        return sorted({STATUS[code] for code in self.codes})


class DescribedRoute(Route):
    """A route of one method, described by its operation."""

    def __init__(
        self, method: str, path: str, endpoint: Callable[..., Any], operation: Operation
    ) -> None:
        super().__init__(path, endpoint, methods=[method], name=operation.name)
        self.method = method
        self.operation = operation


class DescribedFolder(Mount):
    """Files below a path; the operation describes any one of them."""

    method = "GET"
    methods = frozenset({"GET", "HEAD"})

    def __init__(self, path: str, app: ASGIApp, operation: Operation) -> None:
        super().__init__(path, app, name=operation.name)
        self.operation = operation


Described = DescribedRoute | DescribedFolder


def begins(wire: Wire[Any]) -> Operation:
    """The operation that begins a stream in this wire."""
    schemas = wire.schemas
    return Operation(
        f"begin_{wire.name}",
        f"Begin a stream in the {wire.name} wire, or get it whole",
        {200: {SSE: schemas.frame, JSON: schemas.whole}},
        BEGINNING,
        ("header.Last-Event-ID", "header.Idempotency-Key", "header.Headwater-On-Disconnect"),
        {JSON: schemas.request},
        (schemas.error,),
    )


def file(name: str, media_type: str) -> Operation:
    """The operation that serves a file of the page, whole or by `Range`.

    303 is for `/` alone, which exchanges `?token=` for a session.
    """
    found, refused = {media_type: ""}, {"text/plain": ""}
    answers: Answers = {200: found, 206: found, 303: {}, 304: {}, 400: refused, 416: refused}
    return Operation(name, "A file of the page", answers, ("not_found",), is_open=True)
