"""`headwater replay`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli import asking
from headwater.cli.answer import shown

if TYPE_CHECKING:
    from headwater.providers.tape import Playing
    from headwater.streams import LocalStream


@click.command(epilog="Example: headwater replay story --speed 4 --fault cut=30")
@click.argument("tape", metavar="FILE")
@click.option("--speed", metavar="N", default="1", help="2 is twice as fast; max does not wait.")
@click.option(
    "--fault",
    metavar="FAULT",
    multiple=True,
    help="refuse, or after N events: cut=N, error=N, stall=N, malformed=N.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the events, a line of JSON each.")
def command(tape: str, speed: str, fault: tuple[str, ...], as_json: bool) -> None:
    """Play FILE into the terminal, as it was recorded, or the tape of that name that we ship.

    A server plays tapes too, in every wire: ask for the model tape/NAME.
    """
    path, playing = _path(tape), _playing(speed, fault)
    play = _player(path, playing)
    if not as_json:
        with shown(live=True) as answer:
            play(answer.add)
        return
    asking.print_events(play)


def _path(tape: str) -> Path:
    """The file, or the shipped tape, that is meant."""
    from headwater.providers.tape import names, nearest
    from headwater.providers.tape.shipped import FOLDER

    if Path(tape).is_file():
        return Path(tape)
    known = names(FOLDER)
    shipped = known.get(tape.removeprefix("tape/"))
    if shipped is None:
        near = ", ".join(nearest(tape, list(known)))
        raise click.UsageError(f"There is no file {tape}; of the tapes we ship, nearest are {near}")
    return shipped


def _playing(speed: str, faults: Sequence[str]) -> Playing:
    from headwater.providers.tape import WrongOption, playing

    try:
        read_speed = playing.speed(speed)
    except WrongOption as error:
        raise click.BadOptionUsage("--speed", f"--{error}") from error
    try:
        return playing.playing(read_speed, [playing.fault(fault) for fault in faults])
    except WrongOption as error:
        raise click.BadOptionUsage("--fault", f"--fault: {error}") from error


def _player(path: Path, playing: Playing) -> Callable[[asking.Listener], None]:
    """What plays the tape to a listener."""
    from headwater.api import Headwater
    from headwater.providers.tape import TapeSource, read
    from headwater.streams.generation import Generation, StreamOptions

    lines = read(path)
    # A tape is its own log: it needs none of the store that a server here would use.
    headwater = Headwater(store="memory://", workers=1)

    async def begin() -> LocalStream:
        return await headwater.runtime().hub.start(
            Generation(TapeSource(lines, playing), f"tape/{path.stem}"),
            StreamOptions(principal=None, on_disconnect="cancel"),
        )

    return partial(asking.in_process, headwater, begin)
