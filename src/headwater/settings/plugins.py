"""Wires, providers and stores of other packages, found by their entry points.

A package names what it brings in its `pyproject.toml`, in the groups below; installing it is all.
Nothing of it is imported before it is asked for by name, or a server starts. One that cannot be
loaded is told of in the log and is not there: it takes nothing else with it.
"""

from __future__ import annotations

import functools
import logging
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Literal

from headwater.errors import ConfigurationError

log = logging.getLogger("headwater.plugins")

Group = Literal["headwater.wires", "headwater.dialects", "headwater.stores"]
_GROUPS: Final[tuple[Group, ...]] = ("headwater.wires", "headwater.dialects", "headwater.stores")
# Of `headwater.wires.base.Wire`, which this room is below.
_OF_A_WIRE: Final = (
    *("name", "heartbeat", "headers", "waits_for_first", "on_disconnect"),
    *("parse", "options", "fold", "whole", "error"),
)


@functools.cache
def names(group: Group) -> tuple[str, ...]:
    """What installed packages bring, in order, whether or not it can be loaded."""
    return tuple(sorted(_points(group)))


@functools.cache
def load(group: Group, name: str) -> Any:
    """The object that a package brings; `ConfigurationError` that says why there is none."""
    point = _points(group).get(name)
    if point is None:
        raise ConfigurationError(f"No installed package brings {name[:50]!r} to {group}.")
    try:
        found = point.load()
        _check(group, name, found)
    except (Exception, SystemExit) as error:
        whose = point.dist.name if point.dist is not None else point.value
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        message = f"{name!r} of the package {whose} cannot be used ({group}): {reason}"
        log.warning("%s", message, exc_info=log.isEnabledFor(logging.DEBUG))
        raise ConfigurationError(message) from error
    return found


def check() -> None:
    """Load all, so that what is broken is told of when a server starts, and not at a request."""
    for group in _GROUPS:
        for name in names(group):
            usable(group, name)


def usable(group: Group, name: str) -> bool:
    """Whether a package brings this, and it can be loaded."""
    if name not in names(group):
        return False
    try:
        load(group, name)
    except ConfigurationError:
        return False
    return True


@functools.cache
def _points(group: Group) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    # Sorted, so that of two packages that bring the same name it is always the same one.
    for point in sorted(entry_points(group=group), key=lambda p: (p.name, p.value)):
        first = found.setdefault(point.name, point)
        if first.value != point.value:
            log.warning("%s: %s is %s, not %s", group, point.name, first.value, point.value)
    return found


def _check(group: Group, name: str, found: Any) -> None:
    if group == "headwater.wires":
        lacks = [member for member in _OF_A_WIRE if not hasattr(found, member)]
        if lacks:
            raise TypeError(f"it lacks {', '.join(lacks)}")
        if found.name != name:
            raise ValueError(f"its name is {found.name!r}")
    elif not callable(found):
        raise TypeError(f"it is a {type(found).__name__}, and must be called")
