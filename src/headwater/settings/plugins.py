"""Registries of wires, dialects and stores: built in, or brought by installed packages.

A package names what it brings in its `pyproject.toml`, as an entry point of one of the groups
`headwater.wires`, `headwater.dialects` and `headwater.stores`. It is imported when its name is
first used, or when a server starts. A package that cannot be loaded is logged and left out.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from headwater.errors import ConfigurationError

log = logging.getLogger("headwater.plugins")

T = TypeVar("T")


class Registry(Generic[T]):
    """Everything of one kind, by name. A built-in name hides a package's."""

    def __init__(
        self,
        group: str,
        kind: str,
        built_in: Mapping[str, T],
        checked: Callable[[str, Any], T],
    ) -> None:
        """Register the built-in ones.

        Args:
            group: the entry-point group of packages.
            kind: what one is called in an error.
            built_in: those that come with Headwater.
            checked: called with the name and object of a package; returns the object, or raises.

        """
        self._group = group
        self._kind = kind
        self._built_in = built_in
        self._checked = checked
        self._loaded: dict[str, T] = {}
        self._broken: dict[str, str] = {}  # why a package cannot be used; logged once

    def get(self, name: str) -> T:
        """The one of this name.

        Raises:
            ConfigurationError: there is none, or its package cannot be loaded.

        """
        if name in self._built_in:
            return self._built_in[name]
        if name not in self._loaded:
            self._load(name)
        return self._loaded[name]

    def names(self) -> tuple[str, ...]:
        """All names that `get` takes, built-in ones first."""
        brought = (name for name in names(self._group) if name not in self._built_in)
        return (*self._built_in, *(name for name in brought if self._usable(name)))

    def check(self) -> None:
        """Load everything, so that the log tells what is broken when a server starts."""
        self.names()

    def _usable(self, name: str) -> bool:
        try:
            self.get(name)
        except ConfigurationError:
            return False
        return True

    def _load(self, name: str) -> None:
        point = _points(self._group).get(name)
        if point is None:
            known = ", ".join(self.names())
            raise ConfigurationError(f"Unknown {self._kind} {name[:50]!r}. Use one of {known}.")
        if name not in self._broken:
            try:
                self._loaded[name] = self._checked(name, point.load())
            except (Exception, SystemExit) as error:
                self._broken[name] = _problem(point, error)
        if name in self._broken:
            raise ConfigurationError(self._broken[name])


def _problem(point: EntryPoint, error: BaseException) -> str:
    whose = point.dist.name if point.dist is not None else point.value
    reason = str(error).partition("\n")[0][:200] or type(error).__name__
    message = f"{point.name!r} of the package {whose} cannot be used ({point.group}): {reason}"
    log.warning("%s", message, exc_info=error if log.isEnabledFor(logging.DEBUG) else None)
    return message


@functools.cache
def names(group: str) -> tuple[str, ...]:
    """The names that installed packages bring, in order, whether or not they can be loaded."""
    return tuple(sorted(_points(group)))


@functools.cache
def _points(group: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    # Sorted, so that of two packages that bring the same name it is always the same one.
    for point in sorted(entry_points(group=group), key=lambda p: (p.name, p.value)):
        first = found.setdefault(point.name, point)
        if first.value != point.value:
            log.warning("%s: %s is %s, not %s", group, point.name, first.value, point.value)
    return found
