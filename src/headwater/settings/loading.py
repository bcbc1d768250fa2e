"""Flag, else environment, else file, else default: each given value finds its setting."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import msgspec

from headwater.errors import ConfigurationError
from headwater.settings.files import Lines, read_file
from headwater.settings.schema import (
    RENAMED_IN_PROVIDERS,
    SHORTHANDS,
    Settings,
    fields_of,
    plain,
)
from headwater.settings.store_url import resolved
from headwater.settings.values import WrongValue, check_provider, from_json, read

FILE_NAME: Final = "headwater.toml"
_PREFIX: Final = "HEADWATER_"

KeyPath = tuple[str, ...]
#: Where a key was given: its path to the name a user would look for.
Place = Callable[[KeyPath], str]


def load(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Gather all settings, each from the first source that gives it.

    `flags` maps dotted names such as "server.port" to values, None where a flag was not given.
    `environ` is the process's environment unless given. `config` must exist; without it,
    `headwater.toml` in `cwd` is read if it is there. `ConfigurationError`, one line that names the
    place, when a key is unknown, a value is wrong or two contradict each other.
    """
    environ = os.environ if environ is None else environ
    gathered = _Gathered()
    _from_file(gathered, config, cwd)
    _from_environment(gathered, environ)
    _from_flags(gathered, flags or {})
    gathered.check_tables()
    settings = msgspec.convert(gathered.values, Settings)
    _check_together(settings, gathered, environ)
    return settings


def _from_file(gathered: _Gathered, config: Path | None, cwd: Path | None) -> None:
    default = Path(FILE_NAME) if cwd is None else cwd / FILE_NAME
    if config is None and not default.is_file():
        return
    path = default if config is None else config
    shown = FILE_NAME if config is None else str(config)
    table, lines = read_file(path, shown)
    gathered.add(table, Settings, (), lambda key: f"{shown}:{_line(lines, key)}", text=False)


def _line(lines: Lines, path: KeyPath) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _from_environment(gathered: _Gathered, environ: Mapping[str, str]) -> None:
    for name, value in sorted(environ.items()):
        # An empty variable is how compose files and shells spell "not set".
        if not name.startswith(_PREFIX) or "__" not in name[len(_PREFIX) :] or not value.strip():
            continue
        parts = tuple(name[len(_PREFIX) :].lower().split("__"))
        path = gathered.named(parts)
        gathered.add(_nested(path, value), Settings, (), _Variable(name, path), text=True)


def _from_flags(gathered: _Gathered, flags: Mapping[str, object]) -> None:
    for name, value in flags.items():
        if value is not None:
            path = tuple(name.split("."))
            given = list(value) if isinstance(value, tuple) else value
            gathered.add(_nested(path, given), Settings, (), _Flag(name, path), text=True)


def _nested(path: KeyPath, value: object) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return value  # type: ignore[return-value]  # a path has at least one key


class _Variable:
    """The place of a value from the environment."""

    def __init__(self, name: str, path: KeyPath) -> None:
        self.name, self.path = name, path

    def __call__(self, path: KeyPath) -> str:
        return self.name

    def spell(self, path: KeyPath) -> str:
        return _PREFIX + "__".join(path).upper()


class _Flag(_Variable):
    """The place of a value from a command's flag or a keyword argument."""

    def __call__(self, path: KeyPath) -> str:
        return "--store" if self.name == "store.url" else "--" + self.path[-1].replace("_", "-")

    def spell(self, path: KeyPath) -> str:
        return ".".join(path)


class _Gathered:
    """The values of all sources so far, and the place each came from."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.places: dict[KeyPath, str] = {}

    def add(self, given: Any, kind: Any, path: KeyPath, place: Place, *, text: bool) -> None:
        """Lay `given`, which belongs at `path`, over what is there."""
        inner, _ = plain(kind)
        is_struct = isinstance(inner, type) and issubclass(inner, msgspec.Struct)
        if not is_struct and get_origin(inner) is not dict:
            return self._set(given, kind, path, place, text=text)
        if text and isinstance(given, str):
            given = from_json(given)
        if isinstance(given, str) and inner in SHORTHANDS:
            given = {SHORTHANDS[inner]: given}
        if not isinstance(given, Mapping):
            raise ConfigurationError(f'{place(path)}: "{".".join(path)}" must be a table')
        self._table(path, place)
        children = fields_of(inner) if is_struct else {}
        for key, value in given.items():
            if is_struct and key not in children:
                raise ConfigurationError(_unknown(inner, path, str(key), place))
            child = children[key] if is_struct else get_args(inner)[1]
            self.add(value, child, (*path, str(key)), place, text=text)
        return None

    def _table(self, path: KeyPath, place: Place) -> dict[str, Any]:
        table = self.values
        for key in path:
            table = table.setdefault(key, {})
        if path:
            self.places.setdefault(path, place(path))
        return table

    def _set(self, value: object, kind: Any, path: KeyPath, place: Place, *, text: bool) -> None:
        try:
            read_value = read(value, kind, path, text=text)
        except WrongValue as error:
            raise ConfigurationError(_wrong(place(path), path, error)) from None
        self._table(path[:-1], place)[path[-1]] = read_value
        self.places[path] = place(path)

    def named(self, parts: KeyPath) -> KeyPath:
        """Give the path of a variable, with a name already in the file spelt as there.

        A variable's name has no hyphens, dots or small letters: `MY_VLLM` is also `my-vllm`.
        """
        if parts[0] in ("providers", "models") and len(parts) > 1:
            for name in self.values.get(parts[0], {}):
                if "".join(c if c.isalnum() else "_" for c in name.lower()) == parts[1]:
                    return (parts[0], name, *parts[2:])
        return parts

    def check_tables(self) -> None:
        for name, table in self.values.get("providers", {}).items():
            if not name or "/" in name:
                where = self.places[("providers", name)]
                raise ConfigurationError(f'{where}: a provider\'s name has no "/": "{name}"')
            try:
                check_provider(table, name)
            except WrongValue as error:
                path = ("providers", name, "base_url" if "base_url" in table else "dialect")
                raise ConfigurationError(_wrong(self.places[path], path, error)) from None
        self._check_members(("models",), "route")
        self._check_members(("auth", "keys"), "key")

    def _check_members(self, path: KeyPath, member: str) -> None:
        """Refuse a table of those at `path` that lacks `member`."""
        tables = self.values
        for key in path:
            tables = tables.get(key, {})
        for name, table in tables.items():
            if member not in table:
                where = self.places[(*path, name)]
                raise ConfigurationError(
                    f'{where}: [{_table_name((*path, name))}] lacks "{member}"'
                )


def _wrong(where: str, path: KeyPath, error: WrongValue) -> str:
    """Say what is wrong with the value of `path`: a line of a file does not name it by itself."""
    if where.startswith((_PREFIX, "--")):
        return f"{where}: {error}"
    return f'{where}: "{path[-1]}" in [{_table_name(path[:-1])}] {error}'


def _unknown(struct: type[msgspec.Struct], path: KeyPath, key: str, place: Place) -> str:
    keys = list(fields_of(struct))
    section, right = _nearest(keys, path, key)
    if isinstance(place, _Variable):
        subject = "setting" if place.spell(path) else "section"
        return f"{place(path)}: unknown {subject}; did you mean {place.spell((*section, right))}?"
    where = place((*path, key))
    if not path and section == path:
        return f"{where}: unknown section [{key}]; did you mean [{right}]?"
    at = f" in [{_table_name(path)}]" if path else " outside any section"
    elsewhere = "" if section == path else f" in [{_table_name(section)}]"
    return f'{where}: unknown key "{key}"{at}; did you mean "{right}"{elsewhere}?'


def _nearest(keys: list[str], path: KeyPath, key: str) -> tuple[KeyPath, str]:
    """Find the right key most like `key`: close in its own table, else in any, else its own."""
    import difflib  # costs a millisecond that only a mistake should pay

    if path[:1] == ("providers",) and key in RENAMED_IN_PROVIDERS:
        return path, RENAMED_IN_PROVIDERS[key]
    if close := difflib.get_close_matches(key, keys, 1, 0.6):
        return path, close[0]
    for section, kind in fields_of(Settings).items():
        inner, _ = plain(kind)
        if get_origin(inner) is not dict and (
            close := difflib.get_close_matches(key, list(fields_of(inner)), 1, 0.75)
        ):
            return (section,), close[0]
    return path, difflib.get_close_matches(key, keys, 1, 0.0)[0]


def _table_name(path: KeyPath) -> str:
    bare = str.maketrans("", "", "-_")
    shown = (key if key.translate(bare).isalnum() and key.isascii() else f'"{key}"' for key in path)
    return ".".join(shown)


def _check_together(settings: Settings, gathered: _Gathered, environ: Mapping[str, str]) -> None:
    if settings.server.workers > 1 and resolved(settings.store.url, environ) == "memory://":
        where = gathered.places.get(("server", "workers"), "server.workers")
        raise ConfigurationError(
            f"{where}: memory:// cannot be shared by {settings.server.workers} workers;"
            " set store.url to sqlite:///headwater.db or redis://host/0, or workers to 1"
        )
