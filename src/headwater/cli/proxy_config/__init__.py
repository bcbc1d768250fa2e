"""`headwater proxy-config`: one module a proxy, each with its template and `write(site)`."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from headwater.cli.proxy_config.site import Site, site

#: Those there is a module for.
PROXIES: Final = ("nginx", "caddy", "haproxy", "apache", "traefik")


@click.command(
    epilog="Example: headwater proxy-config nginx --server-name chat.example.com > headwater.conf"
)
@click.argument("proxy", type=click.Choice(PROXIES))
@click.option("--server-name", default="_", help="Name by which browsers call it; _ is any.")
@click.option("--upstream", default="http://127.0.0.1:8000", help="Where Headwater listens.")
@click.option("--path", default="/", help="Path below which it appears; cut off on the way.")
@click.option("--listen", default="80", help="Port, or address and port, to listen on.")
def command(proxy: str, server_name: str, upstream: str, path: str, listen: str) -> None:
    """Print a configuration for PROXY through which streams arrive as streams."""
    where = site(server_name=server_name, upstream=upstream, path=path, listen=listen)
    click.echo(configuration(proxy, where), nl=False)


def configuration(proxy: str, where: Site) -> str:
    """The configuration of one of `PROXIES` for a site."""
    written: str = import_module(f"headwater.cli.proxy_config.{proxy}").write(where)
    return written
