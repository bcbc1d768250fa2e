"""Judgement: what became of the heads of a request and its response on the way. No I/O."""

from __future__ import annotations

from typing import Final

from headwater.tools.doctor import remedies
from headwater.tools.doctor.report import Check, Status
from headwater.tools.doctor.rhythm import rhythm
from headwater.tools.doctor.seen import Seen, no_answer

#: What a reader sends that must reach the server as it is.
SENT: Final = {
    "Accept": "text/event-stream",
    "Last-Event-ID": "1-7",
    "Idempotency-Key": "doctor",
    "Headwater-On-Disconnect": "continue",
}
# Without these a reader cannot read, or cannot resume.
_NEEDED: Final = ("content-type", "cache-control", "headwater-stream")


def headers_in(seen: Seen) -> Check:
    """Whether what a reader sends reaches the server."""
    name = "headers-in"
    if seen.plain.start is None:
        return no_answer(name, seen.plain)
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
        return no_answer(name, seen.plain)
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
        return no_answer(name, seen.plain)
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
        return no_answer(name, seen.plain)
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
        return no_answer(name, seen.plain)
    arrived = seen.start["request"]["headers"].get("host", "")
    if arrived == seen.url_host:
        return Check(name, "ok", "the server is told the name that was asked for")
    said = f"the server is told {arrived!r} instead of {seen.url_host!r}; it may refuse browsers"
    return seen.found(name, "advice", said)


def _same(sent: str, here: str) -> bool:
    """Whether a list of words is still there; a proxy may add some, and spaces."""

    def words(value: str) -> set[str]:
        return {word.strip().lower() for part in value.split(";") for word in part.split(",")}

    return words(sent) <= words(here)
