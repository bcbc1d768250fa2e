"""Who calls: one function for every route and every form of credential."""

from __future__ import annotations

import inspect
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request

from headwater.errors import ConfigurationError, RequestError
from headwater.observe.shown import keep_secret
from headwater.requests.options import check_principal
from headwater.server.guesses import Guesses
from headwater.server.keys import Keys
from headwater.server.peers import PEER, Peer
from headwater.server.proxies import TrustedProxies, is_forwarded
from headwater.server.sessions import Sessions
from headwater.settings import AuthSettings

#: The principal of every caller of a server without keys.
LOCAL: Final = "local"

#: What the library's `principal=` is: the principal of a request, or None for nobody.
PrincipalOf = Callable[[Request], str | Awaitable[str | None] | None]

_COOKIE: Final = "headwater_session"
# Browsers take a cookie of this name over https alone, and from no other host of the same site.
_SECURE_COOKIE: Final = "__Host-headwater_session"
_TOKEN_BYTES: Final = 24


class Authenticator:
    """Names the principal of a request.

    With keys: by the key or the session that is sent. With `principal`: by calling it. A `served`
    server without either takes its own user's connections for the one local principal, and asks
    everyone else for its token; with `auth.anonymous` it checks no caller. Mounted in an app
    without either, there is no principal.
    """

    def __init__(
        self,
        settings: AuthSettings,
        *,
        principal: PrincipalOf | None,
        served: bool,
        sessions: Sessions,
        proxies: TrustedProxies,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._keys = Keys(settings.keys, self._environ)
        self._principal_of = principal
        self._served = served
        self._sessions = sessions
        self._proxies = proxies
        self._guesses = Guesses()
        #: How often the keys were read again: a caller that was admitted before may be none now.
        self.renewals = 0
        #: Whether the place of a caller, not a credential, protects a served process.
        self.guarded = served and not self._keys and principal is None
        #: What callers send that are not the server's own user; None where there is another way.
        self.token: str | None = None
        if self.guarded and not settings.anonymous:
            self.token = secrets.token_urlsafe(_TOKEN_BYTES)
            keep_secret(self.token)
            self._keys = Keys.of_token(LOCAL, self.token)

    async def principal(self, request: Request, *, generates: bool) -> str | None:
        """The caller's principal; None is the nobody to whom streams without a principal belong.

        `generates` is whether the route spends the provider's key. `RequestError` (`unauthorized`)
        says what is missing.
        """
        if self._keys:
            if self.token is not None and _is_own_user(request):
                return LOCAL
            return await self._by_credential(request)
        if self._principal_of is not None:
            principal = self._principal_of(request)
            principal = await principal if inspect.isawaitable(principal) else principal
            check_principal(principal)
            if principal is None and generates:
                raise _unauthorized("Sign in first.")
            return principal
        if self._served:
            return LOCAL
        if generates:
            raise _unauthorized("Mounted in an app, generating wants [auth.keys] or principal=.")
        return None

    async def check_admin(self, request: Request) -> None:
        """Refuse a caller who may not read what is of all callers.

        Where keys are, those with `admin` may; without keys, callers of a served process.
        """
        principal = await self.principal(request, generates=False)
        if not self._keys and not self._served:
            raise RequestError(
                "Mounted in an app, this wants a key with admin = true in [auth.keys].",
                code="forbidden",
            )
        if self._keys and not self._keys.is_admin(principal or ""):
            raise RequestError(
                f"This key may not read it: set admin = true in [auth.keys.{principal}].",
                code="forbidden",
            )

    def renew(self, settings: AuthSettings) -> frozenset[str]:
        """Take the keys of `settings` from now on; gives those that are gone, or are another now.

        `ConfigurationError` when none would be left: a server that asked for keys goes on asking.
        """
        if not settings.keys:
            raise ConfigurationError("[auth.keys] is empty: the last key goes with a restart")
        self.renewals += 1
        before, self._keys = self._keys, Keys(settings.keys, self._environ)
        return before.gone(self._keys)

    async def sign_in(self, request: Request, key: bytes) -> str | None:
        """The session cookie for a key; None where the caller needs none, else `RequestError`."""
        if not self._keys or (self.token is not None and _is_own_user(request)):
            return None  # a browser would send its cookie to every port of this machine
        name = self._keys.name_of(key)
        if name is not None:
            return await self._sessions.begin(name, self._keys)
        await self._guesses.wrong(self._proxies.address(request))
        raise _unauthorized("There is no such key.")

    async def sign_out(self, request: Request) -> None:
        """End the session whose cookie was sent, for everyone who has it."""
        await self._sessions.end(self._cookie(request))

    def cookie_of(self, request: Request) -> tuple[str, bool]:
        """The name of the session's cookie, and whether it is `Secure`."""
        secure = self._proxies.is_secure(request)
        return (_SECURE_COOKIE if secure else _COOKIE), secure

    async def _by_credential(self, request: Request) -> str:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            key = request.headers.get("x-api-key", "")
        if sent := key.encode("latin-1").strip():  # the very bytes of the header
            found = self._keys.name_of(sent)
        else:
            found = await self._sessions.name_of(self._cookie(request), self._keys)
        if found is not None:
            return found
        if sent:
            await self._guesses.wrong(self._proxies.address(request))
        if self.token is None:
            raise _unauthorized("Send a key as Authorization: Bearer KEY, or as x-api-key.")
        raise _unauthorized(
            "This server has no keys, and answers its own user on its own machine, unless through "
            "a proxy. Others send the token that `headwater serve` has printed, as Authorization: "
            "Bearer TOKEN or x-api-key, or need [auth.keys] in headwater.toml. To answer everyone, "
            "start it with --no-auth."
        )

    def _cookie(self, request: Request) -> str:
        return request.cookies.get(self.cookie_of(request)[0], "")


def _is_own_user(request: Request) -> bool:
    """Whether the connection is of the user that runs this server, and no proxy is seen in it."""
    peer: Peer | None = request.scope.get(PEER)
    return peer is not None and not is_forwarded(request) and peer.is_own_user


def _unauthorized(message: str) -> RequestError:
    return RequestError(message, code="unauthorized")
