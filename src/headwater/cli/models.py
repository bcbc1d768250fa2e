"""`headwater models` and `headwater models pull`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from headwater.models import ModelInfo


@click.group(invoke_without_command=True, epilog="Example: headwater models pull smollm2-135m")
@click.pass_context
def command(ctx: click.Context) -> None:
    """List the models: provider, and whether its key is present. With pull, fetch one."""
    if ctx.invoked_subcommand is None:
        for line in table(asyncio.run(_list())):
            click.echo(line)


async def _list() -> list[ModelInfo]:
    from headwater.api import Headwater

    headwater = Headwater()
    try:
        return await headwater.runtime().models.available()
    finally:
        await headwater.aclose()


def table(models: list[ModelInfo]) -> Iterator[str]:
    """Lay the catalogue out in columns, what can be used first."""
    rows = [("MODEL", "PROVIDER", "READY")]
    for model in sorted(models, key=lambda m: not m.available):
        rows.append((model.id, model.provider, _readiness(model)))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for row in rows:
        yield f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}".rstrip()


def _readiness(model: ModelInfo) -> str:
    if model.available or model.needs is None:
        return "yes" if model.available else "no"
    # What is missing is the name of a variable, or a command of ours.
    return f"headwater {model.needs}" if " " in model.needs else f"set {model.needs}"


@command.command(epilog="Example: headwater models pull smollm2-135m")
@click.argument("name")
def pull(name: str) -> None:
    """Fetch the weights of the embedded model NAME."""
    from headwater.providers import local

    if local.weights_path(name) is not None:
        click.echo(f"{name} is already present")
        return
    with _progress(name) as progress:
        path = local.pull(name, progress=progress)
    click.echo(f"{name} is in {path}")


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)
