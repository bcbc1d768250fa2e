"""Judgement: what measurements of a probe mean. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from headwater.doctor import remedies
from headwater.doctor.hops import Path
from headwater.doctor.measurement import Measurement
from headwater.doctor.report import Check, Status
from headwater.doctor.rhythm import Rhythm, rhythm

#: What a reader sends that must reach the server as it is.
SENT: Final = {
    "Accept": "text/event-stream",
    "Last-Event-ID": "1-7",
    "Idempotency-Key": "doctor",
    "Headwater-On-Disconnect": "continue",
}
# Without these a reader cannot read, or cannot resume.
_NEEDED: Final = ("content-type", "cache-control", "headwater-stream")
#: How large the events and the body are that must pass.
LARGE_BYTES: Final = 64 * 1024
BODY_BYTES: Final = 2 * 1024 * 1024


class Seen(msgspec.Struct, frozen=True):
    """Everything that was measured of one way to a Headwater server.

    `plain`: ticks. `zipped`: with gzip accepted. `bare`, `bare_zipped`: without our headers against
    buffering, and `sized`, padded ticks: the latter where plain ones were held, the former where
    they were not. `twins`: one URL twice.
    """

    path: Path
    plain: Measurement
    zipped: Measurement
    bare: Measurement | None
    bare_zipped: Measurement | None
    sized: Measurement | None
    twins: tuple[Measurement, Measurement]
    large: Measurement
    body: Measurement
    silent: Measurement
    slow: Measurement
    idle_s: float
    lasting_s: float
    protocol: str
    url_host: str

    @property
    def start(self) -> Mapping[str, Any]:
        """What the server saw of the plain request, and what it answered."""
        return self.plain.start or {"request": {"headers": {}}, "response": {"headers": {}}}

    def found(self, name: str, status: Status, seen: str) -> Check:
        """A check that names the hop, and the line to change."""
        change = remedies.lines(self.path.names, name)
        return Check(name, status, seen, self.path.described, change)


def buffering(seen: Seen) -> Check:
    """Whether ticks come one by one."""
    name = "buffering"
    if not seen.plain.is_stream or seen.plain.start is None:
        return _no_answer(name, seen.plain)
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
        return _no_answer(name, measured)
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
        return _no_answer(name, seen.bare)
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
        return _no_answer(name, seen.twins[1])
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
        return _no_answer(name, measured)
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
        return _no_answer(name, measured)
    said = f"a response was cut after {measured.end_at:.0f} s, {_how(measured)}, while events came"
    return seen.found(name, "fault", said)


def headers_in(seen: Seen) -> Check:
    """Whether what a reader sends reaches the server."""
    name = "headers-in"
    if seen.plain.start is None:
        return _no_answer(name, seen.plain)
    arrived = seen.start["request"]["headers"]
    lost = [each for each, value in SENT.items() if arrived.get(each.lower()) != value]
    if lost:
        said = f"lost on the way to the server: {', '.join(lost)}"
        return seen.found(name, "fault", said)
    return Check(name, "ok", "what a reader sends reaches the server")


def headers_out(seen: Seen) -> Check:
    """Whether what the server sends reaches a reader."""
    name = "headers-out"
    if seen.plain.start is None:
        return _no_answer(name, seen.plain)
    sent, here = seen.start["response"]["headers"], seen.plain.headers
    lost = [each for each in sent if not _same(sent[each], here.get(each, ""))]
    needed = [each for each in lost if each in _NEEDED]
    if needed:
        said = f"lost or changed on the way here: {', '.join(needed)}"
        return seen.found(name, "fault", said)
    if others := [each for each in lost if each != "x-accel-buffering"]:
        said = f"lost or changed on the way here: {', '.join(others)}"
        return seen.found(name, "advice", said)
    return Check(name, "ok", "what the server sends reaches a reader")


def x_accel_buffering(seen: Seen) -> Check:
    """Whether the header that tells nginx not to buffer is there for a proxy further out."""
    name = "x-accel-buffering"
    if seen.plain.start is None:
        return _no_answer(name, seen.plain)
    if seen.plain.headers.get("x-accel-buffering") == "no":
        return Check(name, "ok", "it is passed on")
    held = rhythm(seen.plain.ticks).verdict == "held"
    inner = (seen.path.proxies or 0) > 1
    status: Status = "advice"
    if held and inner:
        status = "fault"
        said = "an inner nginx keeps it to itself, so that the outer proxy buffers"
    elif held:
        said = "it was lost; an nginx behind the proxy that buffers would be the reason"
    else:
        said = "whoever obeys it keeps it; a proxy further out would not be told"
    hop = "the inner nginx" if inner else "the nginx next to the server"
    return Check(name, status, said, hop, remedies.lines(("nginx",), name))


def http_version(seen: Seen) -> Check:
    """What the last proxy speaks to the server, and what readers may speak to the first."""
    name = "http-version"
    if seen.plain.start is None:
        return _no_answer(name, seen.plain)
    if seen.start["request"]["http_version"] == "1.0":
        said = "the server is asked in HTTP/1.0: no cut can be told from an end"
        return seen.found(name, "advice", said)
    if seen.plain.version == "1.0":
        return seen.found(name, "advice", "readers are answered in HTTP/1.0")
    if seen.protocol == "h2":
        return Check(name, "ok", "browsers are given HTTP/2; measured was HTTP/1.1")
    if not seen.protocol:
        return Check(name, "ok", "HTTP/1.1 on both sides; whether browsers get HTTP/2: not told")
    return Check(name, "ok", "HTTP/1.1: a browser has six streams at a time")


def host(seen: Seen) -> Check:
    """Whether the server is told the name that was asked for: origins are compared with it."""
    name = "host"
    if seen.plain.start is None:
        return _no_answer(name, seen.plain)
    arrived = seen.start["request"]["headers"].get("host", "")
    if arrived == seen.url_host:
        return Check(name, "ok", "the server is told the name that was asked for")
    said = f"the server is told {arrived!r} instead of {seen.url_host!r}; it may refuse browsers"
    return seen.found(name, "advice", said)


def large_events(seen: Seen) -> Check:
    """Whether large events come whole."""
    name = "large-events"
    measured = seen.large
    if measured.complete and set(measured.pads) == {LARGE_BYTES}:
        return Check(name, "ok", f"events of {LARGE_BYTES // 1024} KiB came whole")
    if measured.start is None:
        return _no_answer(name, measured)
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
    return _no_answer(name, measured)


CHECKS: Final[tuple[Callable[[Seen], Check], ...]] = (
    buffering,
    compression,
    caching,
    silence,
    duration,
    headers_in,
    headers_out,
    x_accel_buffering,
    own_endpoints,
    large_events,
    body,
    http_version,
    host,
)


def judge(seen: Seen) -> tuple[Check, ...]:
    """Every check, in the order in which a reader would want to know."""
    return tuple(check(seen) for check in CHECKS)


def _no_answer(name: str, measured: Measurement) -> Check:
    if measured.failure:
        why = measured.failure
    elif measured.status != 200:
        why = f"the answer was {measured.status}"
    elif not measured.is_stream:
        why = f"the answer was {measured.headers.get('content-type') or 'of no type'}"
    else:
        why = "the answer broke off before its first event"
    return Check(name, "not told", why)


def _cut(measured: Measurement) -> bool:
    return measured.start is not None and not measured.complete


def _how(measured: Measurement) -> str:
    return {
        "whole": "as if it had ended",
        "cut": "in the middle",
        "left": "and nothing more came",
    }[measured.ended]


def _same(sent: str, here: str) -> bool:
    """Whether a list of words is still there; a proxy may add some, and spaces."""

    def words(value: str) -> set[str]:
        return {word.strip().lower() for part in value.split(";") for word in part.split(",")}

    return words(sent) <= words(here)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _kib(size: float) -> str:
    return f"{size / 1024:.0f} KiB" if size >= 1024 else f"{size:.0f} bytes"
