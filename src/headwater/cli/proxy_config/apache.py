"""Apache's configuration."""

from __future__ import annotations

from typing import Final

from headwater.cli.proxy_config.site import Site

_TEMPLATE: Final = """\
# Apache in front of Headwater: /etc/apache2/sites-available/, then a2ensite. It needs
# a2enmod proxy proxy_http headers, and the event MPM: with prefork each reader holds a process.
#
{keys}
{listen}
<VirtualHost {address}:{port}>
    # For TLS: port 443, SSLEngine on, SSLCertificateFile and SSLCertificateKeyFile; a2enmod http2.
{name}
    # A conversation with images fits. Headwater's own limit is server.max_body_bytes.
    LimitRequestBody 10485760

    # The name and the port that the browser used: the Origin of its requests is compared with them.
    # Apache adds X-Forwarded-For, -Host and -Server.
    ProxyPreserveHost On
    ProxyRequests Off

    <Location "{path}">
        # A silence this long ends the response (timeout). Headwater breaks every silence after 15 s
        # (server.heartbeat_s), the one before the first token too, so this is only a net. Each
        # piece goes on as it comes (flushpackets). A Headwater that was restarted is asked again at
        # once (retry).
        ProxyPass "{upstream}" flushpackets=on timeout=3600 connectiontimeout=5 retry=0

        # mod_deflate and mod_brotli would collect tokens into blocks of their own.
        SetEnv no-gzip 1
        SetEnv no-brotli 1

        RequestHeader set X-Forwarded-Proto "expr=%{{REQUEST_SCHEME}}"
    </Location>

    # A stream belongs to one reader at one moment.
    <IfModule mod_cache.c>
        CacheDisable "{path}"
    </IfModule>
</VirtualHost>
"""
# Debian's ports.conf listens there; a second Listen of the same port is an error.
_LISTENED: Final = ("80", "443")


def write(site: Site) -> str:
    """The virtual host."""
    place = f"{site.address}:{site.port}" if site.address else site.port
    here = "" if site.port not in _LISTENED or site.address else "# Unless ports.conf has it: "
    return _TEMPLATE.format(
        keys=site.keys,
        listen=f"{here}Listen {place}",
        address=site.address or "*",
        port=site.port,
        name="" if site.any_name else f"    ServerName {site.name}\n",
        path=site.path,
        upstream=f"{site.scheme}://{site.authority}{site.base}/",
    )
