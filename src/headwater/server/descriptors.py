"""File descriptors: each connection takes one, and a process has a limit."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Final

log = logging.getLogger("headwater.server")

# Below this share of the limit nothing is said.
_SCARCE: Final = 0.9


class Descriptors:
    """Raises the soft limit to the hard one, and logs when descriptors become scarce.

    libuv takes no connections while there is no descriptor, and says nothing of it.
    """

    def __init__(self) -> None:
        self._limit = _raised_limit()
        self._warned = False

    async def check(self) -> None:
        """Log once when more than 90 % are taken, and again after they were free meanwhile."""
        if self._limit is None:
            return
        # The lowest free number is given, so it is about how many are taken.
        try:
            taken = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            taken = self._limit
        else:
            os.close(taken)
        scarce = taken >= self._limit * _SCARCE
        if scarce and not self._warned:
            log.error(
                "%d of %d file descriptors are taken; without a free one no connection is "
                "accepted. Raise the limit: LimitNOFILE= in systemd, ulimit -n in a shell.",
                taken,
                self._limit,
            )
        self._warned = scarce


def _raised_limit() -> int | None:
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses some values that it names
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft
