"""Judgement of a stream that is not ours: it tells no times of sending, so arrival is all."""

from __future__ import annotations

from typing import Final

import msgspec

from headwater.tools.doctor import remedies
from headwater.tools.doctor.hops import Path
from headwater.tools.doctor.measurement import Measurement
from headwater.tools.doctor.report import Check, Report

# Events further apart than this did not leave one buffer together.
_APART_S: Final = 0.02
# A whole answer that took longer than this to make was made piece by piece.
_SLOW_S: Final = 1.0
# What only a probe can tell.
_UNTOLD: Final = ("caching", "silence", "duration", "headers-in", "headers-out")


def judge(path: Path, plain: Measurement, zipped: Measurement) -> tuple[Check, ...]:
    """What can be told of a stream that was read once as it is, and once with gzip accepted."""
    untold = (Check(name, "not told", "only a Headwater server's /probe tells") for name in _UNTOLD)
    return (_buffering(path, plain), _compression(path, plain, zipped), *untold)


def compared(report: Report, direct: Report) -> Report:
    """The report, where a look past the proxies tells what it alone could not.

    What comes together through them, and comes as a stream without them, they hold back.
    """
    behind = {check.name: check.status for check in direct.checks}
    checks = list(report.checks)
    for place, check in enumerate(checks):
        told = check.name == "buffering" and behind.get(check.name) == "ok"
        if told and check.status == "not told" and report.kind == "sse":
            path = Path(report.hops, report.proxies)
            change = remedies.lines(path.names, check.name)
            said = "events that come as a stream without the proxies come together through them"
            checks[place] = Check(check.name, "fault", said, path.described, change)
    return msgspec.structs.replace(report, checks=tuple(checks))


def groups(measured: Measurement) -> int:
    """How many times something arrived, with a pause before it."""
    count, last = 0, float("-inf")
    for arrival in measured.arrivals:
        count += arrival.at - last > _APART_S
        last = arrival.at
    return count


def _buffering(path: Path, plain: Measurement) -> Check:
    name, events, came = "buffering", len(plain.arrivals), groups(plain)
    if events < 3:
        return Check(name, "not told", f"{events} events are too few; ask for a longer answer")
    span = plain.arrivals[-1].at - plain.arrivals[0].at
    if came >= 3:
        said = f"{events} events came at {came} times over {span:.1f} s"
        return Check(name, "ok", f"{said}, the first after {plain.start_at:.1f} s")
    said = f"{events} events came together after {plain.start_at:.1f} s"
    if "content-length" in plain.headers:
        said += ", with a Content-Length: somebody had collected them"
        change = remedies.lines(path.names, name)
        return Check(name, "fault", said, path.described, change)
    if plain.start_at > _SLOW_S:
        return Check(name, "not told", f"{said}: held back, or made at once; ask the server itself")
    return Check(name, "not told", f"{said}: too quick an answer to tell")


def _compression(path: Path, plain: Measurement, zipped: Measurement) -> Check:
    name = "compression"
    if not zipped.is_stream:
        return Check(name, "not told", "the second request was not answered with a stream")
    if not zipped.encoding:
        return Check(name, "ok", "nothing is compressed, though gzip was accepted")
    change = remedies.lines(path.names, name)
    if groups(plain) >= 3 and groups(zipped) < 3:
        said = f"compressed with {zipped.encoding}, which holds events back"
        return Check(name, "fault", said, path.described, change)
    said = f"compressed with {zipped.encoding}"
    return Check(name, "advice", said, path.described, change)
