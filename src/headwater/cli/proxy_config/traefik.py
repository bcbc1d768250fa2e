"""Traefik's configuration."""

from __future__ import annotations

from typing import Final

from headwater.cli.proxy_config.site import Site

_TEMPLATE: Final = """\
# Traefik in front of Headwater: a file of the file provider (dynamic configuration, version 3).
#
{keys}
#
# The static configuration has the entry point. Its timeouts would end streams: writeTimeout is 0
# by default, and must stay so.
#
#   entryPoints:
#     headwater:
#       address: "{address}:{port}"
http:
  routers:
    headwater:
      entryPoints: [headwater]
      rule: "{rule}"
      service: headwater
{use}
  services:
    headwater:
      loadBalancer:
        # The name that the browser used: the Origin of its requests is compared with it. Traefik
        # adds X-Forwarded-For, -Host, -Proto and -Server.
        passHostHeader: true

        # Each piece goes on as it comes. Traefik does so by itself where it recognises a stream.
        responseForwarding:
          flushInterval: "-1ms"

        servers:
          - url: "{upstream}"

# What would hold streams back is not here: the buffering middleware, and compress without
# excludedContentTypes: [text/event-stream]. The retry middleware repeats POSTs: each repetition is
# a second generation that somebody pays for.
{middlewares}"""
_PATHS: Final = """\

  middlewares:
"""


def write(site: Site) -> str:
    """Router, service, and what cuts the path off."""
    steps = _middlewares(site)
    use = f"      middlewares: [{', '.join(steps)}]\n" if steps else ""
    return _TEMPLATE.format(
        keys=site.keys,
        address=site.address,
        port=site.port,
        rule=_rule(site),
        use=use,
        upstream=f"{site.scheme}://{site.authority}",
        middlewares=_PATHS + "".join(steps.values()) if steps else "",
    )


def _rule(site: Site) -> str:
    rules = [] if site.any_name else [f"Host(`{site.name}`)"]
    if site.path != "/" or not rules:
        rules.append(f"PathPrefix(`{site.path}`)")
    return " && ".join(rules)


def _middlewares(site: Site) -> dict[str, str]:
    """Name to block, in the order in which they apply."""
    steps = {}
    if site.path != "/":
        strip = site.path.rstrip("/")
        steps["headwater-strip"] = (
            f'    headwater-strip:\n      stripPrefix:\n        prefixes: ["{strip}"]\n'
        )
    if site.base:
        steps["headwater-base"] = (
            f'    headwater-base:\n      addPrefix:\n        prefix: "{site.base}"\n'
        )
    return steps
