"""Metrics as Prometheus reads them, of one process or of several that share a folder.

Several processes on one socket answer for each other: prometheus-client then keeps values in files
of the folder that `PROMETHEUS_MULTIPROC_DIR` names when it is imported.
"""

from __future__ import annotations

import os
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    multiprocess,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from headwater.observe.instruments import FOLDER, INSTRUMENTS, Instrument

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_UNITS: Final = {"s": "seconds"}


class PrometheusMeter:
    """A registry of its own, so that it does not meet the metrics of an app it is mounted in."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._metrics = {each.name: _make(each, self._registry) for each in INSTRUMENTS}
        # With its labels filled in: looking one up anew costs more than counting.
        self._children: dict[tuple[str, tuple[str, ...]], Counter | Gauge | Histogram] = {}
        if FOLDER not in os.environ:
            ProcessCollector(registry=self._registry)
            PlatformCollector(registry=self._registry)
            GCCollector(registry=self._registry)

    def add(self, instrument: Instrument, value: float, labels: tuple[str, ...] = ()) -> None:
        key = (instrument.name, labels)
        child = self._children.get(key)
        if child is None:
            metric = self._metrics[instrument.name]
            child = self._children[key] = metric.labels(*labels) if labels else metric
        if isinstance(child, Histogram):
            child.observe(value)
        else:
            child.inc(value)

    def page(self) -> bytes:
        """The metrics in the text format."""
        registry = self._registry
        if FOLDER in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry)


def _make(instrument: Instrument, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    name = instrument.name.replace(".", "_")
    labels = [label.replace(".", "_") for label in instrument.labels]
    text, unit = instrument.description, _UNITS.get(instrument.unit, "")
    if instrument.kind == "counter":
        return Counter(name, text, labels, registry=registry)
    if instrument.kind == "gauge":
        return Gauge(name, text, labels, registry=registry, multiprocess_mode="livesum")
    return Histogram(name, text, labels, unit=unit, registry=registry, buckets=instrument.buckets)
