"""The page's sign-in: a cookie that stands for a key, which no script can read."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Final

COOKIE: Final = "headwater_session"
#: A working day and a night: longer than a conversation, short enough to be lost.
LASTS_S: Final = 12 * 3600


def issue(name: str, digest: bytes) -> str:
    """The cookie's value for the key `name`.

    Signed with the digest of the key itself: every process that knows the key can check it, and it
    ends with the key.
    """
    return _signed(name, int(time.time()) + LASTS_S, digest)


def principal(value: str, digests: Mapping[str, bytes]) -> str | None:
    """The name of the key that a cookie's value stands for, or None."""
    parts = value.split(".")
    if len(parts) != 3 or not parts[1].isdigit() or len(parts[1]) > 12:
        return None
    try:
        name = base64.urlsafe_b64decode(parts[0]).decode()
    except (binascii.Error, ValueError):
        return None
    expires = int(parts[1])
    digest = digests.get(name)
    if digest is None or expires < time.time():
        return None
    return name if hmac.compare_digest(_signed(name, expires, digest), value) else None


def _signed(name: str, expires: int, digest: bytes) -> str:
    text = f"{base64.urlsafe_b64encode(name.encode()).decode()}.{expires}"
    return f"{text}.{hmac.new(digest, text.encode(), hashlib.sha256).hexdigest()}"
