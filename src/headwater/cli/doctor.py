"""`headwater doctor`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

from headwater.cli.terminal import say, say_json
from headwater.errors import HeadwaterError

if TYPE_CHECKING:
    from headwater.tools.doctor import Report, Subject

_CANNOT_TELL: Final = 2
_SIGNS: Final = {"ok": "ok", "advice": "advice", "fault": "FAULT", "not told": "not told"}


@click.command(epilog="Example: headwater doctor https://chat.example.com/ai")
@click.argument("url")
@click.option(
    "--direct",
    metavar="URL",
    help="The server itself, behind the proxies: a fault that it has too is not theirs.",
)
@click.option(
    "--idle",
    type=click.FloatRange(20, 3600),
    default=20.0,
    show_default=True,
    metavar="S",
    help="Seconds of silence that a response must survive.",
)
@click.option("--data", metavar="JSON", help="POST this to a stream that is not Headwater's.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(url: str, direct: str | None, idle: float, data: str | None, as_json: bool) -> int:
    """Tell whether a stream reaches here as a stream, and if not, who holds it back.

    URL is where Headwater is (its /probe is asked), else any endpoint of Server-Sent Events. Takes
    about 20 seconds. A server that wants a key gets the one in HEADWATER_API_KEY. Exits with 0 when
    healthy, 1 when a fault was found, 2 when it could not tell.
    """
    from headwater.tools.doctor import Subject

    key, body = os.environ.get("HEADWATER_API_KEY"), data.encode() if data is not None else None
    subjects = [Subject(_checked(each), key, idle, body) for each in (url, direct) if each]
    if sys.stderr.isatty():
        say(f"Listening for about {idle * len(subjects):g} s …", err=True)
    try:
        reports = _examine(subjects)
    except HeadwaterError as error:
        raise _CannotTell(error.message) from error
    if as_json:
        out = reports[0].as_data()
        if direct is not None:
            out["direct"] = reports[1].as_data()
        say_json(out, indent=2)
    else:
        _print(*reports)
    return reports[0].exit_status


class _CannotTell(click.ClickException):
    exit_code = _CANNOT_TELL


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise click.UsageError(f"URL must be one such as http://127.0.0.1:8000: {url}")
    return url


def _examine(subjects: list[Subject]) -> list[Report]:
    """One after the other: they would make each other late."""
    from headwater.tools.doctor import compared, examine

    report, *direct = [examine(subject) for subject in subjects]
    return [compared(report, direct[0]), *direct] if direct else [report]


def _print(report: Report, direct: Report | None = None) -> None:
    say(_way(report))
    width = max(len(check.name) for check in report.checks)
    behind = {check.name: check.status for check in direct.checks} if direct else {}
    for check in report.checks:
        say(f"  {check.name:<{width}}  {_SIGNS[check.status]:<8}  {check.seen}")
    for check in report.checks:
        if check.status not in ("fault", "advice"):
            continue
        say()
        say(f"{_SIGNS[check.status]} {check.name}: {check.seen}.")
        if behind.get(check.name) == check.status:
            say("  It is there without the proxies, too: look at the server.")
            continue
        say(f"  Where: {check.hop}.")
        for proxy, line in check.change.items():
            say(f"  {proxy}: {line}")
    healthy = {0: "Healthy.", 1: "A fault was found.", 2: "Could not tell."}
    say()
    say(healthy[report.exit_status])


def _way(report: Report) -> str:
    from headwater.tools.doctor.hops import NAMES

    names = ", ".join(NAMES[name] for name in report.hops)
    if report.proxies == 0:
        way = "no proxy between"
    elif report.proxies is None:
        way = f"through {names}" if names else "no proxy names itself"
    else:
        count = "1 proxy" if report.proxies == 1 else f"{report.proxies} proxies"
        way = f"through {count}" + (f": {names}" if names else " that do not name themselves")
    return f"{report.url}  ({way})"
