"""`headwater`, whose event loop a signal holds up for the seconds in `HOLD_S`.

SIGUSR1 holds it by `time.sleep`, which lets threads run; SIGUSR2 by one call of C, which keeps the
interpreter's lock. Every stream that ends is printed, by `on_end`.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import time

import headwater.api
from headwater.cli import main

#: Run with the arguments of `headwater`.
COMMAND = (sys.executable, "-m", "tests.helpers.held")


def _sleep(*_: object) -> None:
    time.sleep(float(os.environ["HOLD_S"]))
    print("held", flush=True)


def _one_call(*_: object) -> None:
    # Functions of a `PyDLL` keep the lock, as msgspec does; others would give it to a thread.
    ctypes.PyDLL(None).usleep(int(float(os.environ["HOLD_S"]) * 1_000_000))
    print("held", flush=True)


def _ended(end: object) -> None:
    print("on_end", end, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _sleep)
    signal.signal(signal.SIGUSR2, _one_call)
    headwater.api.Headwater = functools.partial(  # type: ignore[misc,assignment]
        headwater.api.Headwater, on_end=_ended
    )
    main()
