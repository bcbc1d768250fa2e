"""A tape that is being made."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from headwater.errors import ConfigurationError, HeadwaterError
from headwater.events import Event, Terminal, Unknown
from headwater.providers.tape.file import text


class Recording:
    """A context in which events are written down; at `path` there is a tape only when it is whole.

    Left before the terminal event, there is none. `force` replaces a file that is there. Raises
    `ConfigurationError` where it cannot or must not write; `count` is how many events it has, `ms`
    the time of the last.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        if path.exists() and not path.is_file():
            raise ConfigurationError(f"{path} is not a file; name one, such as answer.tape")
        if path.exists() and not force:
            raise ConfigurationError(f"{path} is there already; --force replaces it")
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._file: BinaryIO | None = None
        self._whole = False
        self.count = 0
        self.ms = 0.0

    def __enter__(self) -> Self:
        try:
            self._file = self._part.open("wb")
        except OSError as error:
            raise ConfigurationError(f"cannot write {self._path}: {error.strerror}") from error
        return self

    def add(self, events: Sequence[Event], ms: float) -> None:
        """Write what one read brought, `ms` milliseconds after the request."""
        assert self._file is not None  # noqa: S101 - for the type checker
        self.ms = round(ms, 1)  # finer than that is the noise of a machine
        # What only a newer version knows cannot be played by this one.
        known = [event for event in events if not isinstance(event, Unknown)]
        with _told(self._path):
            self._file.write(b"".join(text(self.ms, event) for event in known))
        self.count += len(known)
        self._whole = bool(known) and isinstance(known[-1], Terminal)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._file is not None  # noqa: S101 - for the type checker
        try:
            with _told(self._path):
                self._file.close()
                if self._whole:
                    self._part.replace(self._path)
        finally:
            with suppress(OSError):
                self._part.unlink(missing_ok=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Translate what the file system says."""
    try:
        yield
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise HeadwaterError("storage_failed", message) from error
