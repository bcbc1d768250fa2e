"""A stream read from a Headwater server, with nothing but the standard library's HTTP."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Generator, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import click
import msgspec

from headwater import events as ev
from headwater.errors import HeadwaterError, UpstreamError
from headwater.sse import Decoder, SSEError

# Four of the server's heartbeats may be lost before its silence means that it is gone.
_SILENCE_S: Final = 60.0
_STOP_S: Final = 5.0
# A restart or a changed network is over within these waits, and a server that is gone is told soon.
_WAITS_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0)
_READ_BYTES: Final = 64 * 1024
_ERROR_BYTES: Final = 64 * 1024


class _Cut(Exception):  # noqa: N818 - not an error yet: the stream is asked for again
    """The connection ended before the stream did."""


class Remote:
    """A Headwater server at `base`, an http(s) URL, asked with `key` where it wants one."""

    def __init__(self, base: str, key: str | None) -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise click.BadOptionUsage(
                "--server", f"--server must be a URL such as http://127.0.0.1:8000: {base}"
            )
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/")
        self._headers = {"Accept": "text/event-stream"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def stream(self, prompt: str, model: str | None) -> Generator[ev.Event, None, None]:
        """Ask, and give the events to the end; a cut connection is resumed where it was cut.

        Left before the end, it stops the stream. `HeadwaterError` when the server refuses or is not
        reached any more.
        """
        body = {"prompt": prompt} | ({"model": model} if model is not None else {})
        stream: str | None = None
        try:
            response = self._ask("POST", "/v1/streams", json.dumps(body).encode())
            stream = response.headers.get("Headwater-Stream")
            last, waits = "", iter(_WAITS_S)
            while True:
                decoder = Decoder()
                try:
                    for event in _events(response, decoder):
                        yield event
                        waits = iter(_WAITS_S)
                        if isinstance(event, ev.StreamEnd | ev.StreamError):
                            stream = None
                            return
                except _Cut:
                    last = decoder.last_event_id or last
                    response = self._resume(stream, last, waits)
        finally:
            if stream is not None:
                self._stop(stream)

    def _resume(
        self, stream: str | None, last: str, waits: Iterator[float]
    ) -> http.client.HTTPResponse:
        for wait in waits if stream else ():
            time.sleep(wait)
            try:
                return self._ask("GET", f"/v1/streams/{stream}", None, {"Last-Event-ID": last})
            except HeadwaterError as error:
                if not error.retryable:
                    raise
        raise UpstreamError("truncated", "the connection to the server broke and did not come back")

    def _ask(
        self, method: str, path: str, body: bytes | None, extra: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        headers = self._headers | {k: v for k, v in (extra or {}).items() if v}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connection(_SILENCE_S)
        try:
            connection.request(method, self._path + path, body, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UpstreamError(
                "upstream_error", f"cannot reach {self._host}: {reason}", retryable=True
            ) from error
        if response.status != http.client.OK:
            with response:
                raise _refusal(response)
        return response

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def _stop(self, stream: str) -> None:
        connection = self._connection(_STOP_S)
        try:
            connection.request("DELETE", f"{self._path}/v1/streams/{stream}", None, self._headers)
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            pass  # the server stops it by itself when nobody reads it for a while
        finally:
            connection.close()


def _events(
    response: http.client.HTTPResponse, decoder: Decoder
) -> Generator[ev.Event, None, None]:
    """Give the events of one connection; `_Cut` at its end."""
    try:
        with response:
            while chunk := response.read1(_READ_BYTES):
                for message in decoder.feed(chunk):
                    yield from ev.decode_lines(message.data)
    except (SSEError, msgspec.DecodeError) as error:
        raise UpstreamError(
            "upstream_error", "the server does not speak Headwater's native wire", retryable=False
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Cut from error
    raise _Cut


def _refusal(response: http.client.HTTPResponse) -> HeadwaterError:
    """Make the error of an answer that is no stream, in the words of the server if it has any."""
    try:
        error: dict[str, Any] = json.loads(response.read(_ERROR_BYTES))["error"]
        return HeadwaterError(error["code"], str(error["message"]))
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        message = f"the server answered {response.status} {response.reason}"
        return UpstreamError("upstream_error", message, retryable=response.status >= 500)
