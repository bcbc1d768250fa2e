"""`headwater tail`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from headwater import events as ev
from headwater.cli import asking
from headwater.cli.answer import shown
from headwater.cli.terminal import say
from headwater.errors import RequestError
from headwater.events.position import Position

SERVER = "http://127.0.0.1:8000"


@click.command(epilog="Example: headwater tail 3f2b8c0d9e514a7b8c6d5e4f3a2b1c0d --after 1-20")
@click.argument("stream", metavar="STREAM")
@click.option("--server", metavar="URL", default=SERVER, show_default=True, help="Whose stream.")
@click.option("--after", metavar="POSITION", default="", help="Only what follows, such as 1-20.")
@click.option("--json", "as_json", is_flag=True, help="Print the events, a line of JSON each.")
def command(stream: str, server: str, after: str, as_json: bool) -> None:
    """Follow STREAM in the terminal: what it has so far, then live to its end.

    STREAM is the id in the header Headwater-Stream. A connection that breaks is resumed where it
    broke. Ctrl-C leaves the stream running. A server that wants a key gets the one in
    HEADWATER_API_KEY.
    """
    _check(after)
    heard_of: list[ev.Event] = []

    def follow(heard: asking.Listener) -> None:
        def listen(events: Sequence[ev.Event]) -> None:
            heard_of[:] = events[-1:]
            heard(events)

        asking.follow(server, stream, listen, after)
        if not heard_of:
            raise _Nothing

    try:
        if as_json:
            asking.print_events(follow)
        else:
            with shown(live=True, asked=False) as answer:
                follow(answer.add)
    except _Nothing:
        say(f"Nothing follows {after}: the stream ended there.", err=True)


class _Nothing(Exception):  # noqa: N818 - no error: the end was seen before
    """The stream has ended, and where it did is where it was to be read from."""


def _check(after: str) -> None:
    if not after:
        return
    try:
        Position.parse(after)
    except RequestError as error:
        raise click.BadOptionUsage(
            "--after", f"--after must be a position such as 1-20, not {after[:50]!r}"
        ) from error
