"""`headwater stop`."""

from __future__ import annotations

import click

from headwater.cli import asking
from headwater.cli.tail import SERVER


@click.command(epilog="Example: headwater stop 3f2b8c0d9e514a7b8c6d5e4f3a2b1c0d")
@click.argument("stream", metavar="STREAM")
@click.option("--server", metavar="URL", default=SERVER, show_default=True, help="Whose stream.")
def command(stream: str, server: str) -> None:
    """Stop STREAM: its provider is freed, and its readers get the end.

    One that has ended already is no error. A server that wants a key gets the one in
    HEADWATER_API_KEY.
    """
    asking.remote(server).stop(stream)
