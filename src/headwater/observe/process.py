"""The observer that all streams of a process share, made on first use and anew after a fork."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headwater.observe.instruments import FOLDER
from headwater.observe.observer import Observer

if TYPE_CHECKING:
    from headwater.observe.prometheus import PrometheusMeter


class _Process:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.observer = Observer()
        self._meter: PrometheusMeter | None = None
        # An app that has not imported it has not configured it either.
        if "opentelemetry.trace" in sys.modules or "opentelemetry.metrics" in sys.modules:
            from headwater.observe.otel import OtelMeter, tracer

            self.observer.meters.append(OtelMeter())
            self.observer.tracer = tracer()

    def meter(self) -> PrometheusMeter:
        """Made when somebody may read it: the library behind it takes a while to import."""
        if self._meter is None:
            from headwater.observe.prometheus import PrometheusMeter

            self._meter = PrometheusMeter()
            self.observer.meters.append(self._meter)
        return self._meter


_process: _Process | None = None


def observer_of_process(*, metered: bool) -> Observer:
    """Tells OpenTelemetry, where the app has configured it, and, `metered`, the metrics page."""
    process = _of_process()
    if metered:
        process.meter()
    return process.observer


@contextmanager
def shared_metrics() -> Iterator[Callable[[int], None]]:
    """Processes that are forked in this block answer for each other on the metrics page.

    Gives what is to be called with the pid of one that has died.
    """
    if FOLDER in os.environ:  # the user's own
        yield _forget
        return
    with tempfile.TemporaryDirectory(prefix="headwater-metrics-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield _forget
        finally:
            del os.environ[FOLDER]


def _forget(pid: int) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(pid)


def metrics_page() -> tuple[bytes, str]:
    """What `/metrics` answers, and its content type."""
    page = _of_process().meter().page()
    from headwater.observe.prometheus import CONTENT_TYPE

    return page, CONTENT_TYPE


def _of_process() -> _Process:
    global _process
    if _process is None or _process.pid != os.getpid():
        _process = _Process()
    return _process
