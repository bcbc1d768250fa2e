"""HAProxy's configuration."""

from __future__ import annotations

from typing import Final

from headwater.cli.proxy_config.site import Site

_TEMPLATE: Final = """\
# HAProxy in front of Headwater: goes to the end of /etc/haproxy/haproxy.cfg.
#
{keys}
frontend headwater
    mode http

    # For TLS: bind :443 ssl crt /etc/haproxy/chat.example.com.pem alpn h2,http/1.1
    bind {bind}

    # A reader says nothing while it reads.
    timeout client 1h
    timeout http-request 30s
    timeout http-keep-alive 75s

    # Who asked, by which name, and that a proxy stands between. HAProxy keeps the Host.
    option forwardfor
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}

{route}

backend headwater
    mode http

    # A connection that cannot be made is tried again, a request that was sent never: no retry-on.
    # A second POST would be a second generation that somebody pays for.
    timeout connect 5s
    retries 2

    # A silence this long ends the response. Headwater breaks every silence after 15 s
    # (server.heartbeat_s), the one before the first token too, so this is only a net.
    timeout server 1h

    # Each piece goes on as it comes. Without it the kernel is told that more is to follow, and
    # waits for that for 0.2 s. What else would hold it back is not here: compression,
    # http-response wait-for-body, http-request cache-use.
    option http-no-delay
{rewrite}    server headwater {server}
"""


def write(site: Site) -> str:
    """A frontend and a backend."""
    server = site.upstream_port
    if site.scheme == "https":
        server += f" ssl verify required ca-file @system-ca sni str({site.upstream_host})"
    return _TEMPLATE.format(
        keys=site.keys,
        bind=f"{site.address}:{site.port}",
        route=_route(site),
        rewrite=_rewrite(site),
        server=server,
    )


def _route(site: Site) -> str:
    conditions = []
    if not site.any_name:
        conditions.append(f"{{ req.hdr(host),field(1,:) -i {site.name} }}")
    if site.path != "/":
        conditions.append(f"{{ path_beg {site.path} }}")
    if not conditions:
        return "    default_backend headwater"
    return f"    use_backend headwater if {' '.join(conditions)}"


def _rewrite(site: Site) -> str:
    if site.path == "/" and not site.base:
        return ""
    path = site.path.replace(".", "[.]")
    return f"    http-request replace-path ^{path}(.*) {site.base}/\\1\n\n"
