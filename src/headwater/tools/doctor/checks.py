"""Judgement: what measurements of a probe mean. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from headwater.tools.doctor import heads
from headwater.tools.doctor.measurement import Measurement
from headwater.tools.doctor.report import Check
from headwater.tools.doctor.rhythm import Rhythm, rhythm
from headwater.tools.doctor.seen import Seen, no_answer

#: How large the events and the body are that must pass.
LARGE_BYTES: Final = 64 * 1024
BODY_BYTES: Final = 2 * 1024 * 1024


def buffering(seen: Seen) -> Check:
    """Whether ticks come one by one."""
    name = "buffering"
    if not seen.plain.is_stream or seen.plain.start is None:
        return no_answer(name, seen.plain)
    plain = rhythm(seen.plain.ticks)
    match plain.verdict:
        case "live":
            said = f"{plain.ticks} events came one by one"
            return Check(name, "ok", f"{said}, the first after {_ms(seen.plain.start_at)}")
        case "unclear":
            said = f"{plain.held:.0%} of the events came together with the next; ask again"
            return Check(name, "not told", said)
    return seen.found(name, "fault", _held(plain, seen.sized))


def _held(plain: Rhythm, sized: Measurement | None) -> str:
    padded = rhythm(sized.ticks) if sized is not None else plain
    if padded.lumps >= 3 and padded.verdict == "held" and plain.lumps < 3:
        return f"events are held back and come in lumps of about {_kib(padded.lump_bytes)}"
    if plain.lumps >= 3:
        return f"events are held back and come in lumps, every {plain.lump_s:.1f} s"
    return f"{plain.ticks} events that were sent one by one came together, at the end"


def compression(seen: Seen) -> Check:
    """Whether a stream that says `no-transform` is compressed for a client that takes gzip."""
    name = "compression"
    measured = seen.zipped
    if not measured.is_stream:
        return no_answer(name, measured)
    if not measured.encoding:
        return Check(name, "ok", "nothing is compressed, though gzip was accepted")
    passed = rhythm(measured.ticks).verdict == "live"
    effect = "each event by itself" if passed else "which holds events back"
    said = f"compressed with {measured.encoding} in spite of no-transform, {effect}"
    return seen.found(name, "fault", said)


def own_endpoints(seen: Seen) -> Check:
    """Whether it is the proxy's configuration that lets streams pass, or our headers alone."""
    name = "own-endpoints"
    if seen.bare is None or seen.bare_zipped is None:
        return Check(name, "not told", "events are held back even with our headers")
    if not (seen.bare.is_stream and seen.bare_zipped.is_stream):
        return no_answer(name, seen.bare)
    if rhythm(seen.bare.ticks).verdict == "held":
        found = seen.found("buffering", "advice", "events pass only because of X-Accel-Buffering")
        return msgspec.structs.replace(found, name=name)
    encoding = seen.bare_zipped.encoding
    if encoding and not seen.zipped.encoding:
        passed = rhythm(seen.bare_zipped.ticks).verdict == "live"
        effect = "each event by itself" if passed else "which would hold events back"
        said = f"only our no-transform keeps {encoding} from them, {effect}"
        found = seen.found("compression", "advice", said)
        return msgspec.structs.replace(found, name=name)
    return Check(name, "ok", "events pass without our headers against buffering, too")


def caching(seen: Seen) -> Check:
    """Whether the same URL, asked twice, is answered twice."""
    name = "caching"
    first, second = (twin.start for twin in seen.twins)
    if first is None or second is None:
        return no_answer(name, seen.twins[1])
    if first["nonce"] == second["nonce"]:
        return seen.found(name, "fault", "the same URL was answered from a cache")
    return Check(name, "ok", "the same URL was answered anew")


def silence(seen: Seen) -> Check:
    """Whether a response survives a silence."""
    name = "silence"
    measured = seen.silent
    heartbeat_s = float(seen.start.get("heartbeat_s", 15.0))
    if measured.complete:
        return Check(name, "ok", f"{seen.idle_s:g} s of silence passed")
    if measured.start is None and measured.status not in (502, 504):
        return no_answer(name, measured)
    cut_s = measured.end_at - measured.start_at if measured.start else measured.end_at
    if _cut(seen.slow) and seen.slow.end_at <= measured.end_at + 2:
        return Check(name, "not told", "no response lasts that long, a silent one included")
    how = "by " + str(measured.status) if measured.status != 200 else _how(measured)
    said = f"a silent response was cut after {cut_s:.0f} s, {how}"
    if cut_s < heartbeat_s:
        said += f"; Headwater's heartbeat comes after {heartbeat_s:g} s"
    return seen.found(name, "fault", said)


def duration(seen: Seen) -> Check:
    """Whether a response that sends something every second is let go on."""
    name = "duration"
    measured = seen.slow
    if measured.complete:
        return Check(name, "ok", f"a response of {seen.lasting_s:g} s came whole")
    if measured.start is None:
        return no_answer(name, measured)
    said = f"a response was cut after {measured.end_at:.0f} s, {_how(measured)}, while events came"
    return seen.found(name, "fault", said)


def large_events(seen: Seen) -> Check:
    """Whether large events come whole."""
    name = "large-events"
    measured = seen.large
    if measured.complete and set(measured.pads) == {LARGE_BYTES}:
        return Check(name, "ok", f"events of {LARGE_BYTES // 1024} KiB came whole")
    if measured.start is None:
        return no_answer(name, measured)
    said = f"events of {LARGE_BYTES // 1024} KiB did not come whole"
    return seen.found(name, "fault", said)


def body(seen: Seen) -> Check:
    """Whether a long conversation with an image is let through."""
    name, size = "body", f"{BODY_BYTES // 1024**2} MiB"
    measured = seen.body
    if measured.start is not None:
        if measured.start["request"]["body_bytes"] == BODY_BYTES:
            return Check(name, "ok", f"a request of {size} reaches the server")
        return seen.found(name, "advice", f"a request of {size} did not come whole")
    if measured.status == 413:
        return seen.found(name, "advice", f"a request of {size} was refused with 413")
    return no_answer(name, measured)


CHECKS: Final[tuple[Callable[[Seen], Check], ...]] = (
    buffering,
    compression,
    caching,
    silence,
    duration,
    heads.headers_in,
    heads.headers_out,
    heads.x_accel_buffering,
    own_endpoints,
    large_events,
    body,
    heads.http_version,
    heads.host,
)


def judge(seen: Seen) -> tuple[Check, ...]:
    """Every check, in the order in which a reader would want to know."""
    return tuple(check(seen) for check in CHECKS)


def _cut(measured: Measurement) -> bool:
    return measured.start is not None and not measured.complete


def _how(measured: Measurement) -> str:
    return {
        "whole": "as if it had ended",
        "cut": "in the middle",
        "left": "and nothing more came",
    }[measured.ended]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _kib(size: float) -> str:
    return f"{size / 1024:.0f} KiB" if size >= 1024 else f"{size:.0f} bytes"
