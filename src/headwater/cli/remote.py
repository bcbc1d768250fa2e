"""A stream read from a Headwater server, with nothing but the standard library's HTTP."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Generator, Iterator
from typing import Any, Final
from urllib.parse import quote, urlsplit

import click

from headwater import events as ev
from headwater.errors import HeadwaterError, UpstreamError, error_told
from headwater.json_text import UNREADABLE
from headwater.sse import Decoder, SSEError

# Four of the server's heartbeats may be lost before its silence means that it is gone.
_SILENCE_S: Final = 60.0
_STOP_S: Final = 5.0
# A whole answer is silent until it is there: longer than a server lets a generation take.
_WHOLE_S: Final = 900.0
# A restart or a changed network is over within these waits, and a server that is gone is told soon.
_WAITS_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0)
_READ_BYTES: Final = 64 * 1024
_ERROR_BYTES: Final = 64 * 1024


#: Events to the terminal one, those together that one read brought.
Reads = Generator[list[ev.Event], None, None]


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
        self._named = parts.hostname + (f":{parts.port}" if parts.port else "")
        self._path = parts.path.rstrip("/")
        self._headers = {"Accept": "text/event-stream"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def ask(self, prompt: str, model: str | None) -> Reads:
        """Ask, and give the events to the end, those together that one read brought.

        A cut connection is resumed where it was cut. Left before the end, it stops the stream.
        `HeadwaterError` when the server refuses or is not reached any more.
        """
        body = {"prompt": prompt} | ({"model": model} if model is not None else {})
        response = self._ask("POST", "/v1/streams", json.dumps(body).encode())
        stream = response.headers.get("Headwater-Stream")
        ended = False
        try:
            for events in self._reads(response, stream):
                ended = isinstance(events[-1], ev.Terminal)
                yield events
        finally:
            if stream is not None and not ended:
                self._stop(stream)

    def whole(self, prompt: str, model: str | None) -> dict[str, Any]:
        """Ask with `stream: false`, and give the state of the stream when the answer is whole.

        `HeadwaterError` when the server refuses, or the answer fails.
        """
        body = {"prompt": prompt, "stream": False} | ({"model": model} if model is not None else {})
        payload = json.dumps(body).encode()
        try:
            with self._ask("POST", "/v1/streams", payload, silence_s=_WHOLE_S) as response:
                state: dict[str, Any] = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UpstreamError("truncated", "the server broke off before the answer") from error
        return state

    def follow(self, stream: str, after: str = "") -> Reads:
        """Give the events of a stream that there is, as `ask` does; left, it goes on.

        Those behind the position `after`, where it is given: nothing when that is the end.
        """
        stream = quote(stream, safe="")
        extra = {"Last-Event-ID": after}
        response = self._ask("GET", f"/v1/streams/{stream}", None, extra)
        if response.status == http.client.NO_CONTENT:
            response.close()
            return
        yield from self._reads(response, stream, after)

    def stop(self, stream: str) -> None:
        """Stop a stream; `HeadwaterError` when there is none, or the server is not reached."""
        self._ask("DELETE", f"/v1/streams/{quote(stream, safe='')}").close()

    def _reads(
        self, response: http.client.HTTPResponse, stream: str | None, last: str = ""
    ) -> Reads:
        waits = iter(_WAITS_S)
        while True:
            decoder = Decoder()
            try:
                for events in _events(response, decoder):
                    yield events
                    waits = iter(_WAITS_S)
                    if isinstance(events[-1], ev.Terminal):
                        return
            except _Cut:
                last = decoder.last_event_id or last
                response = self._resume(stream, last, waits)

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
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        extra: dict[str, str] | None = None,
        *,
        silence_s: float = _SILENCE_S,
    ) -> http.client.HTTPResponse:
        headers = self._headers | {k: v for k, v in (extra or {}).items() if v}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connection(silence_s)
        try:
            connection.request(method, self._path + path, body, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UpstreamError(
                "upstream_error",
                f"cannot reach {self._named}: {reason}; `headwater serve` starts a server, "
                "--server URL names another",
                retryable=True,
            ) from error
        if response.status not in (http.client.OK, http.client.NO_CONTENT):
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


def _events(response: http.client.HTTPResponse, decoder: Decoder) -> Reads:
    """Give the events of one connection; `_Cut` at its end."""
    try:
        with response:
            while chunk := response.read1(_READ_BYTES):
                messages = decoder.feed(chunk)
                events = [event for each in messages for event in ev.decode_lines(each.data)]
                if events:
                    yield events
    except (SSEError, *UNREADABLE) as error:
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
        return error_told(error["code"], str(error["message"]))
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        message = f"the server answered {response.status} {response.reason}"
        return UpstreamError("upstream_error", message, retryable=response.status >= 500)
