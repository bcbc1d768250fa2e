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


def _load(*names: str) -> Script:
    """The script that these files make together."""
    source = b"".join(files(__package__).joinpath(f"{name}.lua").read_bytes() for name in names)
    # Redis names scripts so; nothing is kept safe by it.
    return Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest())


APPEND: Final = _load("append")
CLAIM: Final = _load("claim")
CREATE: Final = _load("create")
DISCLAIM: Final = _load("disclaim")
KEEP: Final = _load("trim", "keep")
LIST: Final = _load("trim", "list")
RENEW: Final = _load("renew")
TAIL: Final = _load("tail")
TAKEOVER: Final = _load("takeover")

ALL: Final = (APPEND, CLAIM, CREATE, DISCLAIM, KEEP, LIST, RENEW, TAIL, TAKEOVER)
