"""What only a log can do: one stream to many readers, replay, and a log that grows long."""

from __future__ import annotations

import http.client
import json
import time
from typing import Final

from bench.load import Shape
from bench.peer import Ask
from bench.trial import Sample, Trial

_WIRE: Final = "plain"
# Two windows of a long log, as parts of its length: behind the start's connecting, before the end.
_WINDOWS: Final = {"start": (0.05, 0.30), "end": (0.70, 0.95)}


def fan_out(trial: Trial, *, readers: int, tokens: int, rate: int) -> Sample:
    """One stream, many readers; counted from when all of them have had a token."""
    stream = begin(trial, f"paced-{tokens}-{rate}")
    shape = Shape(readers, readers, 0, tokens, limit_s=tokens / rate + 10)
    with trial.loader.begin(trial.port, _read(stream), shape, mark=True) as running:
        running.marked()
        before = trial.cpu_s()
        load = running.report()
        cpu_s = trial.cpu_s() - before
    sample: Sample = {"asked": readers, "whole": load.whole, "age_p99": load.age_p99}
    if load.tokens:
        sample["cpu_us"] = cpu_s / load.tokens * 1e6
    return sample


def resume(trial: Trial, *, events: int, rate: int, times: int) -> Sample:
    """Replay of an ended log, read again and again by one reader.

    A `rate` of 0 writes it as fast as it goes, which leaves few entries of many events; else it has
    about an entry an event, as the log of a provider's stream has.
    """
    model = f"paced-{events}-{rate}" if rate else f"burst-{events}"
    stream = begin(trial, model)
    await_end(trial, stream)
    trial.settle()
    before = trial.cpu_s()
    load = trial.loader.run(trial.port, _read(stream), Shape(times, 1, 0, events, limit_s=20))
    cpu_s = trial.cpu_s() - before
    return {
        "asked": times,
        "whole": load.whole,
        "first_p50": load.first_p50,
        "events_s": load.tokens / load.seconds,
        "cpu_us": cpu_s / max(1, load.tokens) * 1e6,
    }


def long_log(trial: Trial, *, streams: int, tokens: int, rate: int) -> Sample:
    """What a token costs near the start of a long log, and near its end."""
    length_s = tokens / rate
    shape = Shape(streams, streams, 0, tokens, limit_s=length_s + 10)
    ask = trial.ask("plain", f"paced-{tokens}-{rate}")
    sample: Sample = {"asked": streams}
    trial.settle()
    with trial.loader.begin(trial.port, ask, shape) as running:
        began = time.monotonic()
        for name, (first, last) in _WINDOWS.items():
            time.sleep(max(0.0, began + first * length_s - time.monotonic()))
            at, before = time.monotonic(), trial.cpu_s()
            time.sleep(max(0.0, began + last * length_s - time.monotonic()))
            sent = (time.monotonic() - at) * rate * streams
            sample[f"cpu_us_{name}"] = (trial.cpu_s() - before) / sent * 1e6
        sample["whole"] = running.report().whole
    return sample


def begin(trial: Trial, model: str) -> str:
    """Begin a stream that goes on without a reader; its id."""
    ask = trial.ask("plain", model)
    connection = http.client.HTTPConnection("127.0.0.1", trial.port, timeout=30)
    connection.request("POST", ask.path, ask.body, {"Headwater-On-Disconnect": "continue"})
    response = connection.getresponse()
    stream = response.headers["Headwater-Stream"]
    connection.close()
    if response.status != 200 or stream is None:
        raise RuntimeError(f"a stream could not be begun: HTTP {response.status}")
    return stream


def await_end(trial: Trial, stream: str, at_most_s: float = 60.0) -> None:
    """Wait until nothing more is written to its log."""
    deadline = time.monotonic() + at_most_s
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", trial.port, timeout=30)
        connection.request("GET", f"/v1/streams/{stream}", headers={"Accept": "application/json"})
        status = json.load(connection.getresponse())["status"]
        connection.close()
        if status != "running":
            return
        time.sleep(0.2)
    raise RuntimeError(f"stream {stream} has not ended within {at_most_s:g} s")


def _read(stream: str) -> Ask:
    return Ask(f"/v1/streams/{stream}?wire={_WIRE}", "-")
