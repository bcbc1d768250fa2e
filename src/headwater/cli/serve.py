"""`headwater serve`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from headwater.cli.terminal import say


@click.command(epilog="Example: headwater serve --port 9000 --upstream http://127.0.0.1:11434/v1")
@click.option("--config", type=click.Path(path_type=Path), help="Settings; else ./headwater.toml.")
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (8000); 0 takes any free one.")
@click.option("--workers", type=int, metavar="N", help="Processes (1); more want a shared store.")
@click.option("--store", metavar="URL", help="memory://, sqlite:///FILE, redis://HOST/0, env:VAR.")
@click.option("--no-auth", is_flag=True, help="Answer everyone who reaches it: see below.")
@click.option("--upstream", metavar="URL", help="An OpenAI-compatible base URL, /v1 included.")
def command(
    config: Path | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    store: str | None,
    no_auth: bool,
    upstream: str | None,
) -> None:
    """Serve streams over HTTP until SIGTERM or Ctrl-C, then let running ones finish.

    Without [auth.keys] it answers the user who started it, on this machine, and asks everyone else
    for the token in the page's URL. With --no-auth it checks no caller: other users of this
    machine, and every caller that a proxy or a tunnel lets through, spend your providers' keys, and
    read, list and stop all streams.
    """
    from headwater.api import Headwater
    from headwater.errors import HeadwaterError

    headwater = Headwater(
        config=config,
        host=host,
        port=port,
        workers=workers,
        store=store,
        anonymous=no_auth or None,
        upstream=upstream,
    )
    telling: list[asyncio.Task[None]] = []

    async def tell_model() -> None:
        try:
            choice = await headwater.runtime().models.resolve(None)
        except HeadwaterError as error:
            say(error.message, err=True)
        else:
            say(f"Model: {choice.name} ({choice.candidates[0].provider.name})")

    def on_ready(url: str) -> None:
        # At once: the upstream that is asked for its models may be slow, or not there yet.
        say(f"Headwater is listening on {url}")
        if headwater.token is not None:
            say(f"Page: {url}/?token={headwater.token}")
        telling.append(asyncio.ensure_future(tell_model()))

    if store is not None and "@" in store:
        say("Every user here sees the password in --store: use --store env:VAR.", err=True)
    headwater.serve(on_ready=on_ready)
