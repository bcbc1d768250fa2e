"""The endpoints of signing in: a key, or the token of a server without keys, for a cookie."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from headwater.errors import RequestError
from headwater.json_text import JsonBounds
from headwater.server.auth import Authenticator
from headwater.server.body import json_object, read_body
from headwater.server.operations import JSON, NO_CONTENT, DescribedRoute, Operation
from headwater.server.sessions import LASTS_S
from headwater.wires.requests import optional

# A key is a line of text.
_MAX_BYTES: Final = 8 * 1024

_BEGIN: Final = Operation(
    "begin_session",
    "A key for a cookie",
    NO_CONTENT,
    ("invalid_request", "unauthorized", "too_large", "rate_limited", "store_unavailable"),
    body={JSON: "SessionRequest"},
    is_open=True,
)
_END: Final = Operation(
    "end_session",
    "End the session, for every copy of its cookie",
    NO_CONTENT,
    ("store_unavailable",),
    is_open=True,
)


class SignIn:
    """Begins and ends the page's sessions."""

    def __init__(self, auth: Authenticator) -> None:
        self._auth = auth

    def routes(self) -> list[DescribedRoute]:
        """What Starlette routes."""
        return [
            DescribedRoute("POST", "/v1/session", self.begin, _BEGIN),
            DescribedRoute("DELETE", "/v1/session", self.end, _END),
        ]

    async def begin(self, request: Request) -> Response:
        """`POST /v1/session`: a key in, the page's cookie out."""
        body = json_object(await read_body(request, _MAX_BYTES, JsonBounds()))
        key = optional(body, "key", str)
        if key is None:
            raise RequestError('Send the key as {"key": "…"}.', param="key")
        response = Response(status_code=204)
        await self._give(request, response, key)
        return response

    async def end(self, request: Request) -> Response:
        """`DELETE /v1/session`."""
        await self._auth.sign_out(request)
        response = Response(status_code=204)
        name, secure = self._auth.cookie_of(request)
        response.delete_cookie(name, httponly=True, samesite="strict", secure=secure)
        return response

    def at(self, page: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
        """The page, which takes `?token=` for a key.

        It is answered by a redirect to the page itself, so that neither the address bar nor the
        history keeps the token.
        """

        async def serve(request: Request) -> Response:
            token = request.query_params.get("token")
            if self._auth.token is None or token is None:
                return page(request)
            rest = request.url.remove_query_params("token").query
            response = RedirectResponse("./" + (f"?{rest}" if rest else ""), 303)
            response.headers.update({"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
            with contextlib.suppress(RequestError):  # without a cookie the page asks for it
                await self._give(request, response, token)
            return response

        return serve

    async def _give(self, request: Request, response: Response, key: str) -> None:
        cookie = await self._auth.sign_in(request, key.strip().encode(errors="surrogatepass"))
        if cookie is not None:
            name, secure = self._auth.cookie_of(request)
            response.set_cookie(
                name, cookie, max_age=LASTS_S, httponly=True, samesite="strict", secure=secure
            )
