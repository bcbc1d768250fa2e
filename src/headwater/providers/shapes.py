"""Objects of packages that are not imported, and dicts of the same shape, read alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def member(item: Any, name: str) -> Any:
    """A member of an object or of a dict; None where there is none."""
    return item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)


def plain(value: Any) -> Any:
    """A value as JSON has it: pydantic's models, what has members, or is a container of them."""
    match value:
        case None | str() | bool() | int() | float():
            return value
        case Mapping():
            return {str(name): plain(item) for name, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json", exclude_none=True, warnings=False)
    if hasattr(value, "__dict__"):
        return {name: plain(item) for name, item in vars(value).items() if name[0] != "_"}
    return str(value)
