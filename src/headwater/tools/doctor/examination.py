"""The order of questions: what is asked of a URL, and what is asked at the same time."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from headwater.errors import HeadwaterError
from headwater.json_text import UNREADABLE
from headwater.tools.doctor import checks, foreign, hops
from headwater.tools.doctor.checks import BODY_BYTES, LARGE_BYTES
from headwater.tools.doctor.heads import SENT
from headwater.tools.doctor.measurement import Measurement
from headwater.tools.doctor.report import Check, Report
from headwater.tools.doctor.request import Ask, edge, negotiated, read
from headwater.tools.doctor.rhythm import rhythm
from headwater.tools.doctor.seen import Seen

#: The silence that every response must survive: longer than the pause between two heartbeats.
LEAST_IDLE_S: Final = 20.0
# Beyond what was asked for, before an answer is given up.
_PATIENCE_S: Final = 20.0
# How often a rhythm is asked for, at most.
_TRIES: Final = 4
# Somebody else's stream is listened to for so long.
_LISTEN_S: Final = 20.0
_GZIP: Final = {"Accept-Encoding": "gzip"}
_PLAIN: Final = {"Accept-Encoding": "identity"}


class Subject(msgspec.Struct, frozen=True):
    """What is examined: a URL, with the `key` to send where it wants one.

    `idle_s` is the silence to survive, in seconds; `data` a body to POST to somebody else's
    stream.
    """

    url: str
    key: str | None = None
    idle_s: float = LEAST_IDLE_S
    data: bytes | None = None

    def headers(self, *more: dict[str, str]) -> dict[str, str]:
        """The head of a reader's request."""
        credentials = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        content = {"Content-Type": "application/json"} if self.data is not None else {}
        merged = {"User-Agent": "headwater-doctor", **SENT, **_PLAIN, **credentials, **content}
        for each in more:
            merged |= each
        return merged


def examine(subject: Subject) -> Report:
    """All that can be told of `subject`; takes as long as the silence it asks for.

    `HeadwaterError` when nothing is there, or a Headwater server refuses.
    """
    if subject.data is None:
        tag = secrets.token_hex(8)
        first = _probe(subject, ticks=1, tag=tag)
        if first.start is not None:
            return _examine_probe(subject, first, tag)
        _refused(first)
    return _examine_stream(subject)


def _examine_probe(subject: Subject, first: Measurement, tag: str) -> Report:
    """`first` was asked for with `tag`: once more, and a cache shows itself."""
    seen: dict[str, Measurement] = {}
    lasting_s = int(subject.idle_s)

    def silent() -> None:
        seen["silent"] = _probe(subject, ticks=1, silence=subject.idle_s)

    def slow() -> None:
        seen["slow"] = _probe(subject, ticks=lasting_s, every=1000)

    def quick() -> None:
        """One after another, so that none of them makes another late."""
        seen["twin"] = _probe(subject, ticks=1, tag=tag)
        seen["plain"] = _settled(lambda: _probe(subject, ticks=20))
        seen["zipped"] = _settled(lambda: _probe(subject, _GZIP, ticks=15))
        if rhythm(seen["plain"].ticks).verdict == "held":
            seen["sized"] = _probe(subject, ticks=48, every=50, size=1024)
        else:
            seen["bare"] = _settled(lambda: _probe(subject, ticks=15, hints=0))
            seen["bare_zipped"] = _settled(lambda: _probe(subject, _GZIP, ticks=15, hints=0))
        seen["large"] = _probe(subject, ticks=4, every=20, size=LARGE_BYTES)
        seen["body"] = _probe(subject, ticks=1, body=b"\0" * BODY_BYTES)

    _together(silent, slow, quick)
    parts = urlsplit(subject.url)
    plain = seen["plain"]
    asked = (plain.start or first.start or {}).get("request", {}).get("headers", {})
    path = hops.path(plain.headers or first.headers, asked, edge(subject.url))
    verdicts = checks.judge(
        Seen(
            path=path,
            plain=plain,
            zipped=seen["zipped"],
            bare=seen.get("bare"),
            bare_zipped=seen.get("bare_zipped"),
            sized=seen.get("sized"),
            twins=(first, seen["twin"]),
            large=seen["large"],
            body=seen["body"],
            silent=seen["silent"],
            slow=seen["slow"],
            idle_s=subject.idle_s,
            lasting_s=lasting_s,
            protocol=negotiated(subject.url),
            url_host=parts.netloc.rpartition("@")[2],
        )
    )
    return Report(subject.url, "headwater", path.names, path.proxies, verdicts)


def _examine_stream(subject: Subject) -> Report:
    def ask(*more: dict[str, str]) -> Measurement:
        # Nothing that a server that is not ours might act on.
        ours = ("Last-Event-ID", "Idempotency-Key", "Headwater-On-Disconnect")
        headers = {k: v for k, v in subject.headers(*more).items() if k not in ours}
        return read(Ask(subject.url, headers, subject.data, _PATIENCE_S, _LISTEN_S))

    plain = ask()
    if plain.failure:
        raise HeadwaterError("upstream_error", f"cannot ask {subject.url}: {plain.failure}")
    if not plain.is_stream:
        kind = plain.headers.get("content-type", "no Content-Type")
        said = f"{plain.status} with {kind}, no text/event-stream, and there is no /probe"
        if "location" in plain.headers:
            said = f"{plain.status}, a redirect: ask {plain.headers['location']}"
        return Report(subject.url, "unknown", (), None, (Check("stream", "not told", said),))
    path = hops.path(plain.headers, None, edge(subject.url))
    verdicts = foreign.judge(path, plain, ask(_GZIP))
    return Report(subject.url, "sse", path.names, path.proxies, verdicts)


def _probe(
    subject: Subject, *headers: dict[str, str], body: bytes | None = None, **plan: float | str
) -> Measurement:
    """One probe. A tag of its own keeps a cache from answering it, unless it brings one."""
    query = urlencode({"tag": secrets.token_hex(8), **plan})
    base = subject.url.partition("?")[0].rstrip("/").removesuffix("/probe")
    patience_s = float(plan.get("silence", 0)) + _PATIENCE_S
    return read(Ask(f"{base}/probe?{query}", subject.headers(*headers), body, patience_s))


def _settled(ask: Callable[[], Measurement]) -> Measurement:
    """What holds back does so every time, a busy machine only now and then: the best of a few."""
    best = ask()
    for _ in range(_TRIES - 1):
        if not best.is_stream or rhythm(best.ticks).verdict == "live":
            break
        again = ask()
        if again.is_stream and rhythm(again.ticks).held <= rhythm(best.ticks).held:
            best = again
    return best


def _refused(measured: Measurement) -> None:
    """Raise what a Headwater server says, in its words."""
    try:
        error = msgspec.json.decode(measured.refusal.encode())["error"]
        code, message = str(error["code"]), str(error["message"])
        ours = "request_id" in error and code != "not_found"
    except (*UNREADABLE, LookupError, TypeError):
        return
    if ours:
        raise HeadwaterError("unauthorized" if code == "unauthorized" else "internal", message)


def _together(*jobs: Callable[[], None]) -> None:
    """Run `jobs` in threads that do not keep a process that is to end; the first failure raised."""
    failed: list[BaseException] = []

    def run(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
