"""The classes of the heart stay small: few attributes, few parameters, short files."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from headwater import streams

MOST_ATTRIBUTES = 12
MOST_PARAMETERS = 7
MOST_LINES = 300


def classes() -> Iterator[type]:
    for module in pkgutil.iter_modules(streams.__path__, f"{streams.__name__}."):
        loaded = importlib.import_module(module.name)
        for _, each in inspect.getmembers(loaded, inspect.isclass):
            if each.__module__ == module.name:
                yield each


def attributes(cls: type) -> set[str]:
    """Those that the class and its bases in the heart set on `self`."""
    found: set[str] = set()
    for each in cls.__mro__:
        if each.__module__.startswith(streams.__name__):
            found |= set(re.findall(r"\bself\.(\w+)(?:: [^=\n]+)? = ", inspect.getsource(each)))
            found |= set(re.findall(r"\bself\.(\w+) = self\.", inspect.getsource(each)))
            found |= {name for name in each.__dict__.get("__slots__", ()) if name != "__weakref__"}
    return found


def is_work(cls: type) -> bool:
    """A struct or a tuple only groups values."""
    return not issubclass(cls, msgspec.Struct | tuple)


@pytest.mark.parametrize("cls", [c for c in classes() if is_work(c)], ids=lambda c: c.__name__)
def test_a_class_of_the_heart_is_small(cls: type) -> None:
    assert len(attributes(cls)) <= MOST_ATTRIBUTES, sorted(attributes(cls))
    parameters = list(inspect.signature(cls).parameters)
    assert len(parameters) <= MOST_PARAMETERS, parameters


@pytest.mark.parametrize("name", ["hub.py", "producer.py"])
def test_a_file_of_the_heart_is_short(name: str) -> None:
    path = Path(streams.__path__[0], name)
    assert len(path.read_text().splitlines()) < MOST_LINES
