"""Wire formats: requests in, frames out. Pure. `get` finds a wire by its name."""

from __future__ import annotations

from typing import Any, Final

from headwater.settings.plugins import Registry
from headwater.wires import agui, anthropic, native, openai_chat, openai_responses, plain, ui
from headwater.wires.base import Wire


def _checked(name: str, found: Any) -> Wire[Any]:
    if not isinstance(found, Wire):
        raise TypeError(f"{type(found).__name__} is no headwater.wires.base.Wire")
    if found.name != name:
        raise ValueError(f"its name is {found.name!r}")
    return found


REGISTRY: Final[Registry[Wire[Any]]] = Registry(
    "headwater.wires",
    "wire",
    {
        module.WIRE.name: module.WIRE
        for module in (native, plain, openai_chat, openai_responses, anthropic, ui, agui)
    },
    _checked,
)
get = REGISTRY.get
names = REGISTRY.names
