"""What the outside sees: names that are pinned, and words for each of them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import headwater
from headwater import Headwater, errors, events
from headwater.runtime import WIRES
from headwater.settings import document


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


def test_the_public_names() -> None:
    assert headwater.__all__ == ["Headwater", "HeadwaterError", "RequestBody"]
    methods = {name for name in vars(Headwater) if not name.startswith("_")}
    assert methods == {
        "aclose", "asgi", "bridge", "drain", "models", "response", "resume", "runtime", "serve",
        "start", "stop", "stream", "stream_sync",
    }  # fmt: skip
    assert list(WIRES) == ["native", "plain", "openai", "responses", "anthropic", "ui", "agui"]


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
