"""`headwater record`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from headwater import events as ev
from headwater.cli import asking
from headwater.cli.answer import duration, shown
from headwater.cli.terminal import say

_EXAMPLE = 'headwater record "Why is the sky blue?" -o sky.tape'


@click.command(epilog=f"Example: {_EXAMPLE}")
@click.argument("prompt", nargs=-1)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The tape to write."
)
@click.option("--model", metavar="M", help="Model; else the first that is ready.")
@click.option("--server", metavar="URL", help="Ask this server; else this process does the work.")
@click.option("--stream", metavar="ID", help="Instead of asking, record this stream of --server.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def command(
    prompt: tuple[str, ...],
    output: Path,
    model: str | None,
    server: str | None,
    stream: str | None,
    force: bool,
) -> None:
    """Stream the answer to PROMPT into the terminal, and write it down with its timings.

    The times are those at which the pieces arrived here, counted from the request. What a stream
    that is followed by its ID already had arrives at once. A failure is recorded as well, but there
    is no tape when the server is lost, or after Ctrl-C. The prompt is not on the tape.
    """
    from headwater.tools.recording import Recording

    # Imported before the clock runs: what that costs is no part of the answer.
    import_module("headwater.api" if server is None else "headwater.cli.remote")
    if stream is not None and (server is None or prompt or model is not None):
        raise click.UsageError("--stream goes with --server, without a prompt and without --model")
    text = "" if stream is not None else asking.prompt_of(prompt, _EXAMPLE)
    with shown(live=True) as answer:
        with Recording(output, force=force) as recording:
            began = time.monotonic()

            def heard(events: Sequence[ev.Event]) -> None:
                recording.add(events, (time.monotonic() - began) * 1000)
                answer.add(events)

            if server is not None and stream is not None:
                asking.follow(server, stream, heard)
            else:
                asking.ask(text, model, server, heard)
        answer.leave()
        length = duration(recording.ms / 1000)
        say(f"{output}: {recording.count} events over {length}", err=True)
