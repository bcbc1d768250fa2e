"""The endpoints for operators: health and metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from headwater.adapters.response import json_response
from headwater.observe import metrics_page
from headwater.requests.runtime import Runtime
from headwater.server.auth import Authenticator
from headwater.server.operations import JSON, DescribedRoute, Operation

_ALIVE: Final = Operation("alive", "The process answers", {200: {JSON: "Status"}}, is_open=True)
_READY: Final = Operation(
    "ready",
    "A stream could begin now",
    {200: {JSON: "Status"}},
    ("overloaded", "store_unavailable", "storage_failed"),
    is_open=True,
)
_METRICS: Final = Operation("metrics", "For Prometheus", {200: {"text/plain": ""}})


class Operating:
    """Health and metrics."""

    def __init__(self, runtime: Callable[[], Runtime], auth: Authenticator) -> None:
        self._runtime = runtime
        self._auth = auth

    def routes(self) -> list[DescribedRoute]:
        """What Starlette routes."""
        return [
            DescribedRoute("GET", "/healthz", self.alive, _ALIVE),
            DescribedRoute("GET", "/readyz", self.ready, _READY),
            DescribedRoute("GET", "/metrics", self.metrics, _METRICS),
        ]

    async def alive(self, request: Request) -> Response:
        """`GET /healthz`."""
        return json_response({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """`GET /readyz`: a stream could begin now. Asks the store, no provider and no model."""
        await self._runtime().hub.ready()
        return json_response({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`: for Prometheus."""
        await self._auth.check_admin(request)
        page, content_type = metrics_page()
        return Response(page, headers={"Content-Type": content_type, "Cache-Control": "no-store"})
