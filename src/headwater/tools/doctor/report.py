"""What the doctor says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

Status = Literal["ok", "advice", "fault", "not told"]

#: What must have been told before anything may be called healthy.
_ESSENTIAL: Final = {"headwater": ("buffering", "silence"), "sse": ("buffering",), "unknown": ()}


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked for.

    `seen` is what was seen, in one sentence; `hop` who does it; `change` the line to change, by
    proxy: of one, where it is known who it is.
    """

    name: str
    status: Status
    seen: str
    hop: str = ""
    change: Mapping[str, str] = {}


class Report(msgspec.Struct, frozen=True):
    """All checks of one URL.

    `kind` is `headwater` where `/probe` answered, `sse` for another stream, else `unknown`;
    `hops` are the proxies that could be named, outermost first, `proxies` how many there are at
    least, None where nothing tells.
    """

    url: str
    kind: Literal["headwater", "sse", "unknown"]
    hops: tuple[str, ...]
    proxies: int | None
    checks: tuple[Check, ...]

    @property
    def exit_status(self) -> int:
        """0 healthy, 1 a fault was found, 2 could not tell."""
        told = {check.name: check.status for check in self.checks}
        if "fault" in told.values():
            return 1
        essential = _ESSENTIAL[self.kind]
        if not essential or any(told.get(name, "not told") == "not told" for name in essential):
            return 2
        return 0

    def as_data(self) -> dict[str, Any]:
        """What `--json` prints."""
        healthy = {0: True, 1: False, 2: None}[self.exit_status]
        data: dict[str, Any] = msgspec.to_builtins(self)
        return {"healthy": healthy, **data}
