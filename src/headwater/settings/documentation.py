"""The settings as rows of text, for the documentation and its test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec

from headwater.settings.schema import MIB, SHORTHANDS, Settings, fields_of, plain


class Documented(NamedTuple):
    """One setting, all in text. `default` is TOML, or "" where nothing is set."""

    section: str
    key: str
    type: str
    default: str
    sentence: str


def document() -> list[Documented]:
    """List every setting in the order of the file; NAME stands for a name of the user's own."""
    rows: list[Documented] = []
    for section, kind in fields_of(Settings).items():
        inner, _ = plain(kind)
        if get_origin(inner) is dict:
            rows += _rows(f"{section}.NAME", get_args(inner)[1])
        else:
            rows += _rows(section, inner)
    return rows


def _rows(section: str, struct: type[msgspec.Struct]) -> Iterator[Documented]:
    defaults = {f.name: f.default for f in msgspec.structs.fields(struct)}
    factories = {f.name: f.default_factory for f in msgspec.structs.fields(struct)}
    for key, kind in fields_of(struct).items():
        inner, metas = plain(kind)
        size = any((m.extra or {}).get("size") for m in metas)
        default = defaults[key]
        if default is msgspec.NODEFAULT and factories[key] is not msgspec.NODEFAULT:
            default = factories[key]()
        sentence = next((m.description for m in metas if m.description), "")
        yield Documented(section, key, _type(inner, size), _toml(default, size), sentence)
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from _rows(f"{section}.{key}", inner)
        elif get_origin(inner) is dict and get_args(inner)[1] in SHORTHANDS:
            yield from _rows(f"{section}.{key}.NAME", get_args(inner)[1])


def _type(kind: Any, size: bool) -> str:
    if size:
        return "size"
    if get_origin(kind) is Literal:
        return " | ".join(get_args(kind))
    if get_origin(kind) is tuple:
        return "list of strings"
    if get_origin(kind) is dict or issubclass(kind, msgspec.Struct):
        return "table"
    return {int: "integer", float: "number", bool: "boolean", str: "string"}[kind]


def _toml(default: Any, size: bool) -> str:
    if default is None or default is msgspec.NODEFAULT:
        return ""
    if size and default % MIB == 0:
        return f'"{default // MIB} MiB"'
    if isinstance(default, float):
        return f"{default:g}"
    return "{}" if default == {} else json.dumps(default)
