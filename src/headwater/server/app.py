"""The ASGI application: routes, guards, errors as JSON, the page."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Match, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headwater import stores, wires
from headwater.adapters.heads import PLAYGROUND, SCRIPTS, make_request_id
from headwater.adapters.response import REQUEST_ID, error_response
from headwater.errors import HeadwaterError, RequestError
from headwater.observe import logs, observer_of_process
from headwater.providers import dialects
from headwater.requests.runtime import Runtime
from headwater.server.auth import Authenticator
from headwater.server.guards import check_host, check_site
from headwater.server.openapi import OPERATION, Document
from headwater.server.operations import (
    Described,
    DescribedFolder,
    DescribedRoute,
    file,
)
from headwater.server.routes import Routes
from headwater.server.signing import SignIn
from headwater.settings import Settings
from headwater.wires.base import Wire

log = logging.getLogger("headwater.server")

#: Paths that are open to everybody, pages of other sites included: they hold no data of anyone.
OPEN: Final = (
    *("/", "/assets", "/healthz", "/readyz", "/openapi.json"),
    *(f"/{name}" for name in SCRIPTS),
)

# The page loads nothing from elsewhere and runs nothing inline, whatever a model writes into it.
_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_EXPOSED: Final = ["Headwater-Stream", "X-Request-Id", "Retry-After"]
_ALLOWED: Final = ["Last-Event-ID", "Idempotency-Key", "Headwater-On-Disconnect"]


def create_app(settings: Settings, runtime: Callable[[], Runtime], auth: Authenticator) -> ASGIApp:
    """The application, for whomever `auth` lets call."""
    for registry in (wires.REGISTRY, dialects.REGISTRY, stores.REGISTRY):
        registry.check()
    routes = described_routes(settings, runtime, auth)
    app: ASGIApp = App(Router(routes, redirect_slashes=False), settings, guarded=auth.guarded)
    if settings.server.cors_origins:
        app = _Cors(
            app,
            allow_origins=settings.server.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=[*_ALLOWED, "Authorization", "Content-Type", "X-Api-Key"],
            expose_headers=_EXPOSED,
        )
    return app


def described_routes(
    settings: Settings, runtime: Callable[[], Runtime], auth: Authenticator
) -> list[Described]:
    """Every route of the application, `/openapi.json` included."""
    sign_in = SignIn(auth)
    routes: list[Described] = []
    routes += [*Routes(settings, runtime, auth).routes(), *sign_in.routes(), *_page(sign_in)]
    routes.append(DescribedRoute("GET", "/openapi.json", Document(routes).serve, OPERATION))
    return routes


class _Cors(CORSMiddleware):
    """Answers preflights before `App` sees them; they have an id too."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        response.headers["X-Request-Id"] = _request_id(request_headers)
        return response


class App:
    """Gives every request an id, refuses what the guards refuse, and answers errors as JSON."""

    def __init__(
        self,
        router: Router,
        settings: Settings,
        *,
        guarded: bool,
    ) -> None:
        self._router = router
        self._settings = settings
        self._guarded = guarded  # no credential protects it, so where a request comes from must
        self._wires = {wire.path: wire for wire in map(wires.get, wires.names())}
        self._native = wires.get("native")
        router.default = _not_found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _no_lifespan(receive, send)
        if scope["type"] != "http":
            raise RuntimeError(f"Headwater does not speak {scope['type']}")
        path = _path(scope)
        wire = self._wire_of(path)
        # Litestar puts a slash behind every path of what it mounts.
        scope = {**scope, "path": scope.get("root_path", "") + path}
        request = Request(scope, receive)
        request_id = scope[REQUEST_ID] = _request_id(request.headers)
        # With it Starlette's routes raise what they refuse, in place of answering plain text.
        scope.setdefault("app", self)
        logs.request_id.set(request_id)
        observer = observer_of_process(metered=True)
        observer.requested(request.headers)
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if message["status"] >= 400:
                    observer.refused(message["status"])
                headers = message["headers"] = list(message.get("headers", ()))
                if not any(name == b"x-request-id" for name, _ in headers):
                    headers.append((b"x-request-id", request_id.encode()))
                if not any(name == b"x-content-type-options" for name, _ in headers):
                    headers.append((b"x-content-type-options", b"nosniff"))
                if wire.request_id_header is not None:
                    headers.append((wire.request_id_header, request_id.encode()))
            await send(message)

        try:
            self._guard(request, path)
            await self._router(scope, receive, send_with_id)
        except Exception as error:
            if started:
                raise
            response = self._failure(request, path, error)
            await response(scope, receive, send_with_id)

    def _guard(self, request: Request, path: str) -> None:
        if self._guarded:
            check_host(request, self._settings.server)
        if path not in OPEN and not path.startswith("/assets/"):
            check_site(request, self._settings.server, guarded=self._guarded)

    def _failure(self, request: Request, path: str, error: Exception) -> Response:
        """What is answered in place of what was asked for."""
        request_id: str = request.scope[REQUEST_ID]
        if isinstance(error, HTTPException):
            return self._refusal(request, path, error, request_id)
        if not isinstance(error, HeadwaterError):
            log.error("request %s failed", request_id, exc_info=error)
            error = HeadwaterError("internal", "Something went wrong here; it is in the log.")
        return error_response(self._wire_of(path), error, request_id)

    def _refusal(
        self, request: Request, path: str, refused: HTTPException, request_id: str
    ) -> Response:
        """What Starlette's routes refuse, told as every error is: no such file, no such method."""
        if refused.status_code == 404:
            return error_response(self._wire_of(path), _nothing_at(path), request_id)
        error = RequestError(f"{request.method} is not for {path[:200]!r}.")
        response = error_response(self._wire_of(path), error, request_id)
        response.status_code = refused.status_code
        if refused.status_code == 405:
            response.headers["Allow"] = self._allowed(request.method, path)
        return response

    def _wire_of(self, path: str) -> Wire[Any]:
        """The wire whose requests the path takes; the native one elsewhere."""
        return self._wires.get(path, self._native)

    def _allowed(self, method: str, path: str) -> str:
        """The methods of all routes at this path; Starlette names those of the first alone."""
        scope = {"type": "http", "method": method, "path": path}
        found = (r for r in self._router.routes if r.matches(scope)[0] is not Match.NONE)
        return ", ".join(sorted({name for r in found for name in getattr(r, "methods", ())}))


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")).rstrip("/") or "/"


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else make_request_id()


def _nothing_at(path: str) -> RequestError:
    return RequestError(f"There is nothing at {path[:200]!r}.", code="not_found")


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    raise _nothing_at(_path(scope))


async def _no_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _page(sign_in: SignIn) -> list[Described]:
    def serving(name: str) -> Callable[[Request], Response]:
        def serve(request: Request) -> Response:
            return FileResponse(PLAYGROUND / name, headers=_PAGE_HEADERS)

        return serve

    page = file("page", "text/html")._replace(parameters=("query.token",))
    assets = StaticFiles(directory=PLAYGROUND / "assets", check_dir=False)
    return [
        DescribedRoute("GET", "/", sign_in.at(serving("index.html")), page),
        *(
            DescribedRoute("GET", f"/{name}", serving(name), file(name, "text/javascript"))
            for name in SCRIPTS
        ),
        DescribedFolder("/assets", assets, file("asset", "*/*")),
    ]
