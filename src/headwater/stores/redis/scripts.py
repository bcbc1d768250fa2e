"""The checked steps, each one Lua script that Redis runs as a whole."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final

import msgspec


class Script(msgspec.Struct, frozen=True):
    """A script and the name by which Redis knows it once it is loaded."""

    source: bytes
    sha: str


def _load(name: str) -> Script:
    source = files(__package__).joinpath(f"{name}.lua").read_bytes()
    # Redis names scripts so; nothing is kept safe by it.
    return Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest())


APPEND: Final = _load("append")
CLAIM: Final = _load("claim")
CREATE: Final = _load("create")
DISCLAIM: Final = _load("disclaim")
RENEW: Final = _load("renew")
TAIL: Final = _load("tail")
TAKEOVER: Final = _load("takeover")

ALL: Final = (APPEND, CLAIM, CREATE, DISCLAIM, RENEW, TAIL, TAKEOVER)
