"""`headwater compare`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from headwater.cli import asking
from headwater.cli.comparison.askers import Asker, LocalClient, ServerClient
from headwater.cli.comparison.figures import compared, pairs, rows
from headwater.cli.comparison.listing import as_text
from headwater.cli.comparison.progress import progress
from headwater.cli.comparison.report import report
from headwater.cli.comparison.runs import DEFAULT, Run, ask, plan
from headwater.cli.comparison.table import table
from headwater.cli.terminal import say, say_json

_EXAMPLE = 'headwater compare "Why is the sky blue?" --models smollm2-135m,tape/story --repeat 3'
_FAILED = 1
_INTERRUPTED = 130


@click.command(epilog=f"Example: {_EXAMPLE}")
@click.argument("prompt", nargs=-1)
@click.option(
    "--models",
    metavar="M,M",
    multiple=True,
    help="Models, with commas between them; else the first that is ready.",
)
@click.option("--server", metavar="URL", help="Ask this server; else this process does the work.")
@click.option(
    "--repeat", metavar="N", type=click.IntRange(1, 1000), default=1, help="Ask N times each."
)
@click.option("--warm-up", is_flag=True, help="Ask each model once before, and do not count that.")
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Write a report: a page with the arrival of every token.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every run as JSON.")
def command(
    prompt: tuple[str, ...],
    models: tuple[str, ...],
    server: str | None,
    repeat: int,
    warm_up: bool,
    html: Path | None,
    as_json: bool,
) -> int:
    """Ask PROMPT, or what is piped in, streamed and whole, and show what a reader sees of each.

    Streamed and whole are two requests: the second with "stream": false, timed until the answer is
    there. A model writes anew for each; a tape has the same tokens for both. They are asked one at
    a time, so that they do not slow each other, and take turns in going first. Ctrl-C shows what
    there is.
    """
    text = asking.prompt_of(prompt, _EXAMPLE)
    if html is not None and not html.parent.is_dir():
        raise click.BadOptionUsage("--html", f"--html: there is no folder {html.parent}")
    asked = _names(models)
    runs: list[Run] = []
    interrupted = False
    try:
        _ask(text, asked, server, repeat, warm_up, runs)
    except KeyboardInterrupt:
        interrupted = True
    made = rows(runs)
    if html is not None and made:
        html.write_text(report(text, made), encoding="utf-8")
    if as_json:
        say_json(as_text(text, made))
    else:
        for line in table(made):
            say(line)
    if interrupted:
        return _INTERRUPTED
    return 0 if any(compared(pair) for pair in pairs(made)) else _FAILED


def _names(models: Sequence[str]) -> list[str | None]:
    """Each name once; None for the model that answers where none is named."""
    names = [name.strip() for given in models for name in given.split(",")]
    if models and not all(names):
        raise click.BadOptionUsage("--models", "--models has an empty name; try --models a,b")
    return [*dict.fromkeys(names)] or [None]


def _ask(
    prompt: str,
    models: Sequence[str | None],
    server: str | None,
    repeat: int,
    warm_up: bool,
    runs: list[Run],
) -> None:
    """Ask each in its turn, and add it to `runs` as it begins."""
    asker: Asker = LocalClient() if server is None else ServerClient(server)
    with closing(asker), progress(models, repeat) as (begun, ended):
        for model in models if warm_up else ():
            warm = Run(model, "streamed", 0, model or DEFAULT)
            begun(warm)
            ask(asker, prompt, warm)
        for run in plan(models, repeat):
            runs.append(run)
            begun(run)
            ask(asker, prompt, run)
            ended(run)
