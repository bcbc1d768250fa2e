"""What is asked of memory: quiet streams, and ten minutes of work."""

from __future__ import annotations

import statistics
import threading
import time
from typing import Final

from bench.load import Shape
from bench.trial import Sample, Trial

_SOAK_RATE: Final = 150
_EVERY_S: Final = 5.0
# The first part of a soak fills the store and the allocator's pools.
_WARM: Final = 0.2


def idle(trial: Trial, *, streams: int) -> Sample:
    """Memory of streams that have had one token and wait: reader, upstream and log."""
    trial.settle()
    before = trial.rss()
    shape = Shape(streams, streams, 1000, 1, limit_s=60)
    with trial.loader.begin(trial.port, trial.ask("plain", "quiet"), shape, mark=True) as running:
        running.marked()
        trial.settle()
        held = trial.rss()
    return {"asked": streams, "kb_stream": (held - before) / streams / 1000, "rss": held}


def soak(trial: Trial, *, minutes: float) -> Sample:
    """Memory while streams come and go at a reader's pace."""
    seconds = minutes * 60
    streams = int(_SOAK_RATE * (seconds - 5))
    shape = Shape(streams, 2000, _SOAK_RATE, 60, limit_s=seconds + 30)
    over = threading.Event()
    seen: list[tuple[float, int]] = []

    def watch() -> None:
        began = time.monotonic()
        while not over.wait(_EVERY_S):
            seen.append((time.monotonic() - began, trial.rss()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        load = trial.load("plain", "paced-60-20", shape)
    finally:
        over.set()
        watcher.join()
    flat = [rss / 1e6 for at, rss in seen if at > _WARM * seconds]
    part = max(1, len(flat) // 4)
    first, last = statistics.median(flat[:part]), statistics.median(flat[-part:])
    return {
        "asked": streams,
        "whole": load.whole,
        "tokens": load.tokens,
        "age_p99": load.age_p99,
        "minutes": minutes,
        "mb_first": first,
        "mb_last": last,
        "mb_most": max(flat),
        "grown": last / first,
    }
