"""Which line of whose configuration to change, for what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from headwater.tools.doctor.hops import NAMES

_LINES: Final[Mapping[str, Mapping[str, str]]] = {
    "nginx": {
        "buffering": "proxy_buffering off;  # and no proxy_ignore_headers X-Accel-Buffering",
        "compression": "gzip off;  # in this location",
        "caching": "proxy_cache off;",
        "silence": "proxy_read_timeout 3600s;",
        "duration": "proxy_read_timeout 3600s; send_timeout 3600s;",
        "x-accel-buffering": "proxy_pass_header X-Accel-Buffering;",
        "http-version": 'proxy_http_version 1.1; proxy_set_header Connection "";',
        "body": "client_max_body_size 10m;",
        "host": "proxy_set_header Host $http_host;",
        "headers-in": "proxy_pass_request_headers on;  # and no proxy_set_header that empties one",
        "headers-out": "no proxy_hide_header, expires or add_header that replaces one",
        "large-events": "proxy_max_temp_file_size 0;  # or proxy_buffering off;",
    },
    "caddy": {
        "buffering": "flush_interval -1  # in reverse_proxy, without response_buffers",
        "compression": "no encode on this route, or its match without text/event-stream",
        "caching": "no cache handler on this route",
        "silence": "transport http { read_timeout 1h }  # in reverse_proxy",
        "duration": "servers { timeouts { write 0 } }  # in the global options",
        "http-version": "transport http { versions 1.1 }  # in reverse_proxy",
        "body": "request_body { max_size 10MB }",
        "host": "header_up Host {http.request.host}  # in reverse_proxy",
        "headers-in": "no header_up that removes one",
        "headers-out": "no header or header_down that removes or replaces one",
    },
    "haproxy": {
        "buffering": "option http-no-delay  # and no http-response wait-for-body",
        "compression": "compression type  # without text/event-stream",
        "caching": "no http-request cache-use on this backend",
        "silence": "timeout server 1h",
        "duration": "timeout server 1h  # and timeout client 1h",
        "http-version": "no option that makes the backend HTTP/1.0",
        "body": "no http-request deny by req.body_size below 10 MiB",
        "host": "no http-request set-header Host",
        "headers-in": "no http-request del-header",
        "headers-out": "no http-response del-header or set-header that replaces one",
    },
    "apache": {
        "buffering": "ProxyPass … flushpackets=on  # and no SetOutputFilter BUFFER",
        "compression": "SetEnv no-gzip 1",
        "caching": "CacheDisable on",
        "silence": "ProxyTimeout 3600  # or timeout=3600 on ProxyPass",
        "duration": "ProxyTimeout 3600",
        "http-version": "no SetEnv force-proxy-request-1.0",
        "body": "LimitRequestBody 10485760",
        "host": "ProxyPreserveHost On",
        "headers-in": "no RequestHeader unset",
        "headers-out": "no Header set or Header unset that replaces one",
    },
    "traefik": {
        "buffering": "no buffering middleware on this router",
        "compression": "compress: { excludedContentTypes: [text/event-stream] }",
        "silence": "entryPoints.NAME.transport.respondingTimeouts.writeTimeout: 0s",
        "duration": "entryPoints.NAME.transport.respondingTimeouts.writeTimeout: 0s",
        "body": "buffering.maxRequestBodyBytes: 10485760",
        "host": "passHostHeader: true",
        "headers-in": "no customRequestHeaders that empties one",
        "headers-out": "no customResponseHeaders that empties one",
    },
    "cloudflare": {
        "buffering": "Response Buffering: off (a zone setting of Enterprise plans)",
        "compression": "a Compression Rule without text/event-stream",
        "caching": "a Cache Rule: Bypass cache",
        "silence": "Proxy Read Timeout: 100 s is its default (Enterprise plans may raise it)",
        "body": "the maximum upload size of the zone",
        "headers-out": "no Transform Rule that replaces one",
    },
    "cloudfront": {
        "compression": "Compress objects automatically: No",
        "caching": "Cache policy: CachingDisabled",
        "silence": "Origin response timeout: 60 s  (ResponseTimeout of the origin)",
        "headers-in": "Origin request policy: AllViewer",
        "host": "Origin request policy: AllViewer",
    },
    "alb": {
        "silence": "idle_timeout.timeout_seconds=3600",
        "duration": "idle_timeout.timeout_seconds=3600",
    },
    "nextjs": {
        "buffering": "compress: false  # in next.config.js",
        "compression": "compress: false  # in next.config.js",
        "silence": "experimental: { proxyTimeout: 3600000 }  # in next.config.js",
        "duration": "experimental: { proxyTimeout: 3600000 }  # in next.config.js",
    },
}
# Those that do not name themselves in every answer.
_QUIET: Final = ("nginx", "haproxy", "traefik", "apache", "caddy")


def lines(proxies: Iterable[str], fault: str) -> dict[str, str]:
    """The line to change, by the name of the proxy; of the usual ones where none is known."""
    named = tuple(proxies) or _QUIET
    found = {name: _LINES.get(name, {}).get(fault) for name in named}
    return {NAMES[name]: line for name, line in found.items() if line is not None}
