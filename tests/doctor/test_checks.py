"""Measurements in, findings out: what is not easily made with a real proxy."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headwater.tools.doctor.checks import BODY_BYTES, LARGE_BYTES, judge
from headwater.tools.doctor.heads import SENT
from headwater.tools.doctor.hops import Path
from headwater.tools.doctor.measurement import Arrival, Measurement
from headwater.tools.doctor.report import Report
from headwater.tools.doctor.seen import Seen

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
    "headwater-stream": "n",
}


def probe(
    count: int = 20, *, nonce: str = "n", size: int = 0, body: int = 0, end: bool = True
) -> Measurement:
    asked = {"http_version": "1.1", "body_bytes": body}
    asked |= {"headers": {k.lower(): v for k, v in SENT.items()} | {"host": "a"}}
    start: dict[str, Any] = {"type": "probe-start", "nonce": nonce, "request": asked}
    start |= {"response": {"headers": HEADERS}, "heartbeat_s": 15.0}
    arrivals = [Arrival(0.0, 100, start)]
    for n in range(count):
        tick = {"type": "probe-tick", "tick": n, "at": n * 100.0, "pad": "x" * size}
        arrivals.append(Arrival(0.1 + n / 10, 200 + n, tick))
    last = arrivals[-1].at
    if end:
        arrivals.append(Arrival(last, 300 + count, {"type": "probe-end", "at": 0.0}))
    return Measurement(
        status=200,
        version="1.1",
        headers=HEADERS,
        arrivals=arrivals,
        ended="whole" if end else "cut",
        end_at=last,
    )


def healthy(**changed: Any) -> Seen:
    seen = Seen(
        path=Path(("nginx",), 1),
        plain=probe(),
        zipped=probe(),
        bare=probe(),
        bare_zipped=probe(),
        sized=None,
        twins=(probe(nonce="a"), probe(nonce="b")),
        large=probe(4, size=LARGE_BYTES),
        body=probe(body=BODY_BYTES),
        silent=probe(1),
        slow=probe(),
        idle_s=20,
        lasting_s=20,
        protocol="http/1.1",
        url_host="a",
    )
    return msgspec.structs.replace(seen, **changed)


def with_headers(measured: Measurement, **headers: str) -> Measurement:
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    return msgspec.structs.replace(measured, headers={**measured.headers, **changed})


def report(seen: Seen) -> Report:
    return Report("http://a", "headwater", seen.path.names, seen.path.proxies, judge(seen))


def flaws(seen: Seen) -> dict[str, str]:
    return {check.name: check.status for check in judge(seen) if check.status != "ok"}


def test_a_healthy_way_has_no_flaw() -> None:
    assert flaws(healthy()) == {}
    assert report(healthy()).exit_status == 0


@pytest.mark.parametrize(
    ("changed", "expected", "status"),
    [
        ({"twins": (probe(nonce="a"), probe(nonce="a"))}, {"caching": "fault"}, 1),
        ({"zipped": with_headers(probe(), content_encoding="br")}, {"compression": "fault"}, 1),
        ({"bare_zipped": with_headers(probe(), content_encoding="zstd")}, {"own-endpoints": "advice"}, 0),
        ({"slow": probe(7, end=False)}, {"duration": "fault"}, 1),
        ({"silent": probe(0, end=False)}, {"silence": "fault"}, 1),
        ({"silent": Measurement(status=504, end_at=5)}, {"silence": "fault"}, 1),
        ({"silent": Measurement(failure="no answer in time")}, {"silence": "not told"}, 2),
        ({"large": probe(4, size=10)}, {"large-events": "fault"}, 1),
        ({"body": Measurement(status=413)}, {"body": "advice"}, 0),
        ({"body": probe(body=1)}, {"body": "advice"}, 0),
        ({"plain": with_headers(probe(), cache_control="no-store")}, {"headers-out": "fault"}, 1),
        ({"plain": with_headers(probe(), x_accel_buffering="")}, {"x-accel-buffering": "advice"}, 0),
        ({"url_host": "b"}, {"host": "advice"}, 0),
    ],
)  # fmt: skip
def test_a_flaw_is_told_and_nothing_else(
    changed: dict[str, Any], expected: dict[str, str], status: int
) -> None:
    seen = healthy(**changed)
    assert flaws(seen) == expected
    assert report(seen).exit_status == status


def test_what_could_not_be_asked_is_not_told() -> None:
    seen = healthy(plain=Measurement(failure="no answer in time"))
    told = {check.name: check for check in judge(seen)}
    assert told["buffering"].status == "not told"
    assert told["buffering"].seen == "no answer in time"
    assert report(seen).exit_status == 2
