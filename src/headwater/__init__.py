"""Headwater: the streaming layer for AI products."""

from typing import TYPE_CHECKING, Any

from headwater.errors import HeadwaterError

if TYPE_CHECKING:
    from headwater.api import Headwater
    from headwater.requests.parsing import RequestBody

__all__ = ["Headwater", "HeadwaterError", "RequestBody"]


def __getattr__(name: str) -> Any:
    # On first use: every `import headwater.x`, the command's `--help` too, would pay for it.
    if name == "Headwater":
        from headwater.api import Headwater

        return Headwater
    if name == "RequestBody":
        from headwater.requests.parsing import RequestBody

        return RequestBody
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
