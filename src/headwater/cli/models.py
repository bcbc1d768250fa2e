"""`headwater models` and `headwater models pull`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from headwater.cli.terminal import say

if TYPE_CHECKING:
    from headwater.routing.models import ModelInfo

# Of 80 columns, what the window and four abilities leave; the few longer names stick out.
_WIDEST = 40


@click.group(
    invoke_without_command=True, epilog="Example: headwater models --available --provider openai"
)
@click.option("--available", is_flag=True, help="Only those that can be used now.")
@click.option("--provider", metavar="NAME", help="Only those of this provider.")
@click.pass_context
def command(ctx: click.Context, available: bool, provider: str | None) -> None:
    """List the models by provider: window in tokens, what they can do, what is missing.

    A provider whose key is there is asked for its own list as well. With pull, fetch one.
    """
    if ctx.invoked_subcommand is not None:
        return
    models = asyncio.run(_list())
    providers = {model.provider for model in models}
    if provider is not None and provider not in providers:
        known = ", ".join(sorted(providers))
        raise click.BadParameter(f"{provider!r} has no models; use one of {known}.")
    for line in table(
        model
        for model in models
        if provider in (None, model.provider) and (model.available or not available)
    ):
        say(line)


async def _list() -> list[ModelInfo]:
    from headwater.api import Headwater

    headwater = Headwater()
    try:
        return await headwater.runtime().models.available()
    finally:
        await headwater.aclose()


def table(models: Iterable[ModelInfo]) -> Iterator[str]:
    """Lay the models out by provider, those that can be used first; within 80 columns."""
    groups: dict[tuple[bool, str, str], list[ModelInfo]] = {}
    for model in models:
        readiness = _readiness(model)
        groups.setdefault((not model.available, model.provider, readiness), []).append(model)
    members = [model.id for group in groups.values() for model in group]
    width = min(max(map(len, members), default=0), _WIDEST)
    for number, (group, infos) in enumerate(sorted(groups.items(), key=lambda g: g[0][0])):
        if number:
            yield ""
        yield f"{group[1]}: {group[2]}"
        for info in infos:
            facts = f"{_tokens(info.context):>6}  {', '.join(info.can or ())}"
            yield f"  {info.id:{width}}  {facts}".rstrip()


def _tokens(context: int | None) -> str:
    """A window as short as it is still exact enough to choose by."""
    if context is None:
        return ""
    million, thousand = context / 1_000_000, context // 1000
    return (
        f"{million:.3g}M" if context >= 1_000_000 else f"{thousand}k" if thousand else str(context)
    )


def _readiness(model: ModelInfo) -> str:
    if model.available or model.needs is None:
        return "ready" if model.available else "not ready"
    # What is missing is the name of a variable, or a command.
    return model.needs if " " in model.needs else f"set {model.needs}"


@command.command(epilog="Example: headwater models pull smollm2-135m")
@click.argument("name")
def pull(name: str) -> None:
    """Fetch the weights of the embedded model NAME."""
    from headwater.providers import local

    if local.weights_path(name) is not None:
        say(f"{name} is already present")
    else:
        with _progress(name) as progress:
            path = local.pull(name, progress=progress)
        say(f"{name} is in {path}")
    if steps := local.missing(name):
        say(f"To run it: {steps}")


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
