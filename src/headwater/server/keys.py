"""The keys that callers send: whose they are, and what each may do."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping
from typing import Final, Self

from headwater.observe.shown import keep_secret
from headwater.settings import KeySettings

log = logging.getLogger("headwater.server")

#: Characters of a key that cannot be guessed in the lifetime of a server.
LEAST_LENGTH: Final = 16


class Keys:
    """The callers of `[auth.keys]`, by name. Holds SHA-256 digests, never a key."""

    def __init__(self, settings: Mapping[str, KeySettings], environ: Mapping[str, str]) -> None:
        self._settings = dict(settings)
        self._digests: dict[str, bytes] = {}
        self._short: set[str] = set()
        for name, caller in self._settings.items():
            kind, _, value = caller.key.partition(":")
            if kind == "sha256":
                self._digests[name] = bytes.fromhex(value)
                continue
            keep_secret(environ.get(value, "").strip())
            key = environ.get(value, "").strip().encode(errors="surrogateescape")
            self._digests[name] = hashlib.sha256(key).digest()
            self._check_length(name, key)

    @classmethod
    def of_token(cls, name: str, token: str) -> Self:
        """The one key of a server without configured ones."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        return cls({name: KeySettings(f"sha256:{digest}", admin=True)}, {})

    def __bool__(self) -> bool:
        return bool(self._digests)

    def name_of(self, key: bytes) -> str | None:
        """The name of a key; None for one that is not known."""
        digest = hashlib.sha256(key).digest()
        found = None
        for name, known in self._digests.items():  # all of them: the time must not depend on which
            if hmac.compare_digest(digest, known):
                found = name
        if found is not None:
            self._check_length(found, key)
        return found if key else None

    def mark(self, name: str) -> str | None:
        """Changes when the key of `name` does, and tells nothing of it; None for no such name."""
        digest = self._digests.get(name)
        return None if digest is None else hashlib.sha256(b"session" + digest).hexdigest()

    def is_admin(self, name: str) -> bool:
        """Whether the key of `name` may read what is of all callers."""
        return name in self._settings and self._settings[name].admin

    def gone(self, after: Keys) -> frozenset[str]:
        """Names whose key is not in `after`, or is another one there."""
        return frozenset(n for n, key in self._digests.items() if after._digests.get(n) != key)

    def _check_length(self, name: str, key: bytes) -> None:
        if len(key) < LEAST_LENGTH and name not in self._short:
            self._short.add(name)
            log.warning(
                "auth.keys.%s: the key has less than %d characters, and the next release refuses "
                "such keys: make one with `openssl rand -hex 24`.",
                name,
                LEAST_LENGTH,
            )
