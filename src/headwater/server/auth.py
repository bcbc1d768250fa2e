"""Who calls: one function for every route and every form of credential."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request

from headwater.adapters.mistakes import check_owner
from headwater.errors import ConfigurationError, RequestError
from headwater.server import sessions
from headwater.settings import AuthSettings

#: The principal of every caller of a server without keys.
LOCAL: Final = "local"

#: What the library's `owner=` is: the principal of a request, or None for nobody.
Owner = Callable[[Request], str | Awaitable[str | None] | None]

# nginx makes the whole internet look like 127.0.0.1; these headers give it away.
_PROXY_HEADERS: Final = ("forwarded", "x-forwarded-", "x-real-ip")


class Authenticator:
    """Names the principal of a request.

    With keys, whoever sends one. With `owner`, whoever that says. A `served` server without either
    takes every caller on loopback for the one local principal; mounted in an app, nobody.
    """

    def __init__(
        self,
        settings: AuthSettings,
        *,
        owner: Owner | None,
        served: bool,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._digests = self._read(settings)
        self._anonymous = settings.anonymous
        self._owner = owner
        self._served = served

    @property
    def guarded(self) -> bool:
        """Whether it is the place of a caller, not a credential, that protects a server of ours."""
        return self._served and self.open

    @property
    def open(self) -> bool:
        """Whether callers need no credential: then browsers must be kept from lending theirs."""
        return not self._digests and self._owner is None and not self._anonymous

    async def principal(self, request: Request, *, generates: bool) -> str | None:
        """The caller's principal; None is the nobody to whom streams without an owner belong.

        `generates` is whether the route spends the provider's key. `RequestError` (`unauthorized`)
        says what is missing.
        """
        if self._digests:
            return self._by_key(request)
        if self._owner is not None:
            owner = self._owner(request)
            principal = await owner if inspect.isawaitable(owner) else owner
            check_owner(principal)
            if principal is None and generates:
                raise _unauthorized("Sign in first.")
            return principal
        if self._served:
            if not self._anonymous and any(
                name.startswith(_PROXY_HEADERS) for name in request.headers
            ):
                raise _unauthorized(
                    "This request came through a proxy, and the server has no keys: configure "
                    "[auth.keys], or set auth.anonymous = true if anybody may spend yours."
                )
            return LOCAL
        if generates:
            raise _unauthorized("Mounted in an app, generating wants [auth.keys] or owner=.")
        return None

    def renew(self, settings: AuthSettings) -> frozenset[str]:
        """Take the keys of `settings` from now on; gives those that are gone, or are another now.

        `ConfigurationError` when none would be left: a server that asked for keys goes on asking.
        """
        if not settings.keys:
            raise ConfigurationError("[auth.keys] is empty: the last key goes with a restart")
        before, self._digests = self._digests, self._read(settings)
        return frozenset(n for n, digest in before.items() if self._digests.get(n) != digest)

    def _read(self, settings: AuthSettings) -> dict[str, bytes]:
        return {name: _digest(key, self._environ) for name, key in settings.keys.items()}

    def sign_in(self, key: str) -> str | None:
        """The session cookie for a key, or None where there are no keys; `RequestError`s else."""
        if not self._digests:
            return None
        name = self._named(key)
        if name is None:
            raise _unauthorized("There is no such key.")
        return sessions.issue(name, self._digests[name])

    def _by_key(self, request: Request) -> str:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            key = request.headers.get("x-api-key", "")
        found = self._named(key)
        if found is None and not key:
            found = sessions.principal(request.cookies.get(sessions.COOKIE, ""), self._digests)
        if found is None:
            raise _unauthorized("Send a key as Authorization: Bearer KEY, or as x-api-key.")
        return found

    def _named(self, key: str) -> str | None:
        """The name of a key."""
        key = key.strip()
        digest = hashlib.sha256(key.encode()).digest()
        found = None
        for name, known in self._digests.items():  # all of them, so that time tells nothing
            if hmac.compare_digest(digest, known):
                found = name
        return found if key else None


def _digest(key: str, environ: Mapping[str, str]) -> bytes:
    kind, _, value = key.partition(":")
    if kind == "sha256":
        return bytes.fromhex(value)
    return hashlib.sha256(environ.get(value, "").strip().encode()).digest()


def _unauthorized(message: str) -> RequestError:
    return RequestError(message, code="unauthorized")
