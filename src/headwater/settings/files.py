"""`headwater.toml`: its table, and the line on which each key of it stands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from headwater.errors import ConfigurationError

Lines = dict[tuple[str, ...], int]

#: Far beyond any real file; a mistaken --config (a model, a device) is refused before it is read.
_MAX_BYTES = 1024 * 1024


def read_file(path: Path, name: str) -> tuple[dict[str, Any], Lines]:
    """Parse the file; also give the line (from 1) of every key path in it.

    `name` is what errors call it. `ConfigurationError` when it cannot be read, is not UTF-8 or is
    not TOML; it names the line.
    """
    text = _text(path, name)
    try:
        return tomllib.loads(text), _lines(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(_located(name, text, str(error))) from None
    except RecursionError:
        raise ConfigurationError(f"{name}: nested too deeply") from None


def _text(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigurationError(f"{name}: no such configuration file") from None
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise ConfigurationError(f"{name}: cannot be read: {reason}") from None
    if len(data) > _MAX_BYTES:
        raise ConfigurationError(f"{name}: is larger than 1 MiB, which is no configuration file")
    try:
        # Editors on Windows put a byte order mark before it, which TOML does not know.
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{name}:{line}: is not UTF-8") from None


def _located(name: str, text: str, message: str) -> str:
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", message, re.S)
    if match is None:
        return f"{name}: not TOML: {message}"
    last = text.rstrip("\n").count("\n") + 1
    return f"{name}:{match[2] or last}: not TOML: {match[1]}"


def _lines(text: str) -> Lines:
    """Find the line of each key path; a path with several lines (an array of tables) has its first.

    tomllib tells no positions. A statement of TOML is a run of whole lines, and no proper part of
    one parses, so the statements are found by parsing until it succeeds, each by itself.
    """
    found: Lines = {}
    table: tuple[str, ...] = ()
    pending: list[str] = []
    start = 1
    for number, line in enumerate(text.split("\n"), 1):
        if not pending:
            start = number
        pending.append(line)
        statement = _statement("\n".join(pending))
        if statement is None:
            continue
        is_header = pending[0].lstrip().startswith("[")
        paths = _paths(statement)
        if is_header and paths:
            table = max(paths, key=len)
        for path in paths:
            found.setdefault(path if is_header else table + path, start)
        pending = []
    return found


def _statement(chunk: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(chunk)
    except tomllib.TOMLDecodeError:
        return None


def _paths(table: dict[str, Any]) -> list[tuple[str, ...]]:
    paths: list[tuple[str, ...]] = []
    for key, value in table.items():
        paths.append((key,))
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            paths += [(key, *rest) for rest in _paths(inner)]
    return paths
