"""What the outside sees: names that are pinned, and words for each of them."""

from __future__ import annotations

import enum
import importlib
import inspect
import os
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import headwater
from headwater import Headwater, errors, events, wires
from headwater.settings import document

ROOT = Path(__file__).parents[1]
SURFACE = Path(__file__).with_name("surface.txt")


def modules() -> Iterator[ModuleType]:
    yield headwater
    for info in pkgutil.walk_packages(headwater.__path__, "headwater."):
        if not info.name.endswith(".child"):  # a program of its own
            yield importlib.import_module(info.name)


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    for name, value in vars(module).items():
        defined_here = getattr(value, "__module__", None) == module.__name__
        if defined_here and not name.startswith("_") and callable(value):
            yield f"{module.__name__}.{name}", value


def documented() -> Iterator[tuple[str, list[str] | None]]:
    """What docs/reference shows, and which of its members; None for all."""
    for page in sorted((ROOT / "docs" / "reference").glob("*.md")):
        for block in re.split(r"^::: ", page.read_text(), flags=re.MULTILINE)[1:]:
            options = block.partition("\n\n")[0]
            listed = re.search(r"members:(.*)", options, re.DOTALL)
            named = None if listed is None else re.findall(r"\w+", listed[1])
            yield block.split()[0], [] if named == ["false"] else named


def surface() -> Iterator[str]:
    """A line for each public name with its signature."""
    for path, members in documented():
        thing = pkgutil.resolve_name(path)
        if inspect.ismodule(thing):
            names = [name for name, _ in public(thing)] if members is None else members
            for name in names:
                short = name.rpartition(".")[2]
                yield from described(f"{path}.{short}", getattr(thing, short), None)
        else:
            yield from described(path, thing, members)


def described(path: str, thing: Any, members: list[str] | None) -> Iterator[str]:
    yield f"{path}{signature(thing)}"
    if not inspect.isclass(thing):
        return
    own = {name: value for name, value in vars(thing).items() if not name.startswith("_")}
    for name in own if members is None else members:
        if inspect.isroutine(own.get(name)) or isinstance(own.get(name), property):
            yield f"{path}.{name}{signature(own[name])}"


def signature(thing: Any) -> str:
    if isinstance(thing, property):
        return f" -> {inspect.signature(thing.fget).return_annotation}"  # type: ignore[arg-type]
    called = inspect.isroutine(thing) or inspect.isclass(thing)
    if not called or isinstance(thing, enum.EnumType) or getattr(thing, "_is_protocol", False):
        return ""  # what Python makes up for these is another in each of its versions
    try:
        return str(inspect.signature(thing)).replace("typing.", "")
    except ValueError:  # a struct without fields has none
        return "()"


def test_the_public_surface_is_pinned() -> None:
    """Public is what docs/reference shows. WRITE_SURFACE=1 writes it anew."""
    found = "".join(f"{line}\n" for line in surface())
    if os.environ.get("WRITE_SURFACE"):
        SURFACE.write_text(found)
    assert found.splitlines() == SURFACE.read_text().splitlines()


def test_the_public_names() -> None:
    assert headwater.__all__ == ["Headwater", "HeadwaterError", "RequestBody"]
    assert all(hasattr(headwater, name) for name in headwater.__all__)
    assert list(wires.names()) == [
        "native",
        "plain",
        "openai",
        "responses",
        "anthropic",
        "ui",
        "agui",
    ]


def test_the_reference_shows_every_method() -> None:
    shown = dict(documented())["headwater.api.Headwater"]
    methods = {name for name in vars(Headwater) if not name.startswith("_")}
    assert methods - set(shown or ()) == {"bridge", "runtime"}  # for adapters


def test_every_module_and_public_name_has_its_sentence() -> None:
    silent = [module.__name__ for module in modules() if not (module.__doc__ or "").strip()]
    silent += [
        name
        for module in modules()
        for name, value in public(module)
        if not (value.__doc__ or "").strip()
    ]
    assert silent == []


def test_every_method_of_headwater_has_its_sentence() -> None:
    for name, method in vars(Headwater).items():
        if not name.startswith("_") and inspect.isfunction(method):
            assert method.__doc__, name


def test_every_setting_has_its_sentence() -> None:
    assert all(setting.sentence.endswith(".") for setting in document())


def test_every_error_code_has_a_status() -> None:
    assert set(errors.STATUS) >= errors.RETRYABLE


def test_event_names_are_noun_and_action() -> None:
    tags = {event.__struct_config__.tag for event in events.Event.__args__}
    assert all("-" in tag or tag in {"source", "file", "data"} for tag in tags if tag)
    assert len(tags) == len(events.Event.__args__)
