"""Several processes on one socket: started, kept alive, stopped together."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

from headwater.errors import ConfigurationError

log = logging.getLogger("headwater.server")

# A worker that dies sooner than this has not started: the next one waits.
_STARTED_S: Final = 2.0
_BACK_OFF_S: Final = 1.0


class Supervisor:
    """Runs `work` in `count` processes until SIGTERM or SIGINT.

    `work` is given its number, from 0, and a descriptor that ends when the supervisor does, however
    it dies. A worker that dies is replaced by one with its number; `forget` is told its pid. At
    SIGHUP, which workers are sent too, `renew` is called: what it changes, later workers have.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[int, int], None],
        forget: Callable[[int], None],
        renew: Callable[[], object] | None = None,
    ) -> None:
        if not hasattr(os, "fork"):
            raise ConfigurationError("server.workers: this system has no fork; use 1")
        self._count = count
        self._work = work
        self._forget = forget
        self._renew = renew
        self._workers: dict[int, tuple[int, float]] = {}  # by pid: number, and when it was started
        self._stopping = False
        self._alive = os.pipe()  # its reading end is the workers', its writing end ours alone

    def run(self) -> None:
        """Return when every worker has ended."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        if self._renew is not None:
            signal.signal(signal.SIGHUP, self._pass_on)
        for number in range(self._count):
            self._start(number)
        while self._workers:
            pid, status = os.wait()
            worker = self._workers.pop(pid, None)
            self._forget(pid)
            if worker is None or self._stopping:
                continue
            number, started = worker
            log.error("worker %d ended with %d", pid, os.waitstatus_to_exitcode(status))
            if time.monotonic() - started < _STARTED_S:
                time.sleep(_BACK_OFF_S)
            if not self._stopping:
                self._start(number)

    def _start(self, number: int) -> None:
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            self._workers[pid] = (number, time.monotonic())
            if self._stopping:  # the signal came in between
                os.kill(pid, signal.SIGTERM)
            return
        code = 1
        try:
            os.setpgrp()  # Ctrl-C is for the supervisor, who passes it on once
            # Until its server has its own handlers, a signal just ends it.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if self._renew is not None:  # its server looks for itself, once it has its handler
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            os.close(self._alive[1])
            self._work(number, self._alive[0])
            code = 0
        except Exception:
            log.exception("a worker failed")
        finally:
            sys.stdout.flush()
            os._exit(code)

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        if self._renew is not None:
            self._renew()
        for pid in self._workers:
            os.kill(pid, signal.SIGHUP)

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self._stopping = True
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)
