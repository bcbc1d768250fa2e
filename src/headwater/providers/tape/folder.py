"""Folders of tapes: which names there are, and what is read for one.

A name is looked up among the files of the folder and never made into a path, so that none can lead
out of it.
"""

from __future__ import annotations

import difflib
from functools import lru_cache
from pathlib import Path
from typing import Final

from headwater.providers.tape.file import Line, read

#: What the name of a tape's file ends with.
SUFFIXES: Final = (".jsonl", ".tape")

# Those that are played again and again; a tape may be 32 MiB.
_HELD: Final = 8


def names(folder: Path) -> dict[str, Path]:
    """The tapes of a folder by name, which is that of the file without its suffix.

    Empty when the folder cannot be read. Hidden files are none, nor is a name with "?", which
    begins the options, or with what cannot be printed. Of two with one name, NAME.tape is taken.
    """
    try:
        files = sorted(folder.iterdir(), key=lambda path: (path.suffix, path.name))
        return {path.stem: path for path in files if _is_tape(path)}
    except OSError:
        return {}


def nearest(name: str, known: list[str]) -> list[str]:
    """Those of `known` most like `name`, else the first of them."""
    return difflib.get_close_matches(name[:200], known, n=3, cutoff=0.4) or known[:3]


def held(path: Path, name: str) -> list[Line]:
    """The lines of a tape, read again only when its file has changed."""
    state = path.stat()
    return _read(path, name, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=_HELD)
def _read(path: Path, name: str, changed: int, size: int) -> list[Line]:
    return read(path, name)


def _is_tape(path: Path) -> bool:
    name = path.stem
    return (
        path.suffix in SUFFIXES
        and not name.startswith(".")
        and "?" not in name
        and name.isprintable()
        and path.is_file()
    )
