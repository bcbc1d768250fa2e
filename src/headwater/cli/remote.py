"""A stream read from a Headwater server, over the client of the streaming path."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import click

from headwater import events as ev
from headwater.errors import HeadwaterError, UpstreamError, error_told
from headwater.json_text import UNREADABLE
from headwater.sse import Decoder, SSEError
from headwater.upstream import Pool, Request, fetch

T = TypeVar("T")

# Four of the server's heartbeats may be lost before its silence means that it is gone.
_SILENCE_S: Final = 60.0
_STOP_S: Final = 5.0
# A whole answer is silent until it is there: longer than a server lets a generation take.
_WHOLE_S: Final = 900.0
# A restart or a changed network is over within these waits, and a server that is gone is told soon.
_WAITS_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0)
_ERROR_BYTES: Final = 64 * 1024

#: Events to the terminal one, those together that one read brought.
Reads = Generator[list[ev.Event], None, None]
_Reads = AsyncGenerator[list[ev.Event], None]


class _Cut(Exception):  # noqa: N818 - not an error yet: the stream is asked for again
    """The connection ended before the stream did."""


class RemoteServer:
    """A Headwater server at `base`, an http(s) URL, asked with `key` where it wants one."""

    def __init__(self, base: str, key: str | None) -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise click.BadOptionUsage(
                "--server", f"--server must be a URL such as http://127.0.0.1:8000: {base}"
            )
        # Without a query or a fragment, which would swallow the paths that are put behind it.
        self._base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._key = key

    def ask(self, prompt: str, model: str | None) -> Reads:
        """Ask, and give the events to the end, those together that one read brought.

        A cut connection is resumed where it was cut. Left before the end, it stops the stream.
        `HeadwaterError` when the server refuses or is not reached any more.
        """
        return _read(lambda pool: self._session(pool).ask(_body(prompt, model)))

    def whole(self, prompt: str, model: str | None) -> dict[str, Any]:
        """Ask with `stream: false`, and give the state of the stream when the answer is whole.

        `HeadwaterError` when the server refuses, or the answer fails.
        """
        body = _body(prompt, model) | {"stream": False}
        return _run(lambda pool: self._session(pool).whole(body))

    def follow(self, stream: str, after: str = "") -> Reads:
        """Give the events of a stream that there is, as `ask` does; left, it goes on.

        Those behind the position `after`, where it is given: nothing when that is the end.
        """
        return _read(lambda pool: self._session(pool).follow(quote(stream, safe=""), after))

    def stop(self, stream: str) -> None:
        """Stop a stream; `HeadwaterError` when there is none, or the server is not reached."""
        _run(lambda pool: self._session(pool).stop(quote(stream, safe="")))

    def _session(self, pool: Pool) -> _Session:
        return _Session(pool, self._base, self._key)


def _body(prompt: str, model: str | None) -> dict[str, Any]:
    return {"prompt": prompt} | ({"model": model} if model is not None else {})


def _run(ask: Callable[[Pool], Awaitable[T]]) -> T:
    async def run() -> T:
        pool = Pool()
        try:
            return await ask(pool)
        finally:
            await pool.aclose()

    return asyncio.run(run())


def _read(begin: Callable[[Pool], _Reads]) -> Reads:
    """Read in a loop that runs while the next events are waited for, and stands in between."""
    pool = Pool()
    with asyncio.Runner() as runner:
        reads = begin(pool)

        async def more() -> list[ev.Event] | None:
            return await anext(reads, None)

        async def leave() -> None:
            await reads.aclose()
            await pool.aclose()

        try:
            while (events := runner.run(more())) is not None:
                yield events
        finally:
            runner.run(leave())


class _Session:
    """One question, or one stream, of a server: what is sent over `pool`, and read."""

    def __init__(self, pool: Pool, base: str, key: str | None) -> None:
        self._pool, self._base = pool, base
        self._headers = {"Accept": "text/event-stream"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    async def ask(self, body: Mapping[str, Any]) -> _Reads:
        response = await self._open(self._request("POST", "", body))
        stream = response.headers.get("headwater-stream")
        ended = False
        try:
            async with aclosing(self._reads(response, stream)) as reads:
                async for events in reads:
                    ended = isinstance(events[-1], ev.Terminal)
                    yield events
        finally:
            if stream is not None and not ended:
                # If this fails, the server stops the stream once it has had no reader for a while.
                with suppress(HeadwaterError):
                    await fetch(self._pool, self._request("DELETE", f"/{stream}"), _STOP_S)

    async def whole(self, body: Mapping[str, Any]) -> dict[str, Any]:
        response = await self._open(self._request("POST", "", body), silence_s=_WHOLE_S)
        try:
            state: dict[str, Any] = json.loads(await response.whole())
        except (_Cut, ValueError) as error:
            raise UpstreamError("truncated", "the server broke off before the answer") from error
        return state

    async def follow(self, stream: str, after: str) -> _Reads:
        response = await self._open(self._request("GET", f"/{stream}", after=after))
        if response.status == 204:
            return
        async with aclosing(self._reads(response, stream, after)) as reads:
            async for events in reads:
                yield events

    async def stop(self, stream: str) -> None:
        response = await self._open(self._request("DELETE", f"/{stream}"), silence_s=_STOP_S)
        response.leave()

    async def _reads(self, response: _Response, stream: str | None, last: str = "") -> _Reads:
        waits = iter(_WAITS_S)
        while True:
            decoder = Decoder()
            try:
                async with aclosing(_events(response, decoder)) as reads:
                    async for events in reads:
                        yield events
                        waits = iter(_WAITS_S)
                        if isinstance(events[-1], ev.Terminal):
                            return
            except _Cut:
                last = decoder.last_event_id or last
                response = await self._resume(stream, last, waits)

    async def _resume(self, stream: str | None, last: str, waits: Iterator[float]) -> _Response:
        for wait in waits if stream else ():
            await asyncio.sleep(wait)
            try:
                return await self._open(self._request("GET", f"/{stream}", after=last))
            except HeadwaterError as error:
                if not error.retryable:
                    raise
        raise UpstreamError("truncated", "the connection to the server broke and did not come back")

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        after: str = "",
    ) -> Request:
        headers = self._headers | ({"Last-Event-ID": after} if after else {})
        if body is not None:
            headers["Content-Type"] = "application/json"
        payload = b"" if body is None else json.dumps(body).encode()
        return Request(method, f"{self._base}/v1/streams{path}", headers, payload)

    async def _open(self, request: Request, *, silence_s: float = _SILENCE_S) -> _Response:
        response = _Response(self._pool, request, silence_s)
        try:
            await response.head()
        except UpstreamError as error:
            raise UpstreamError(
                "upstream_error",
                f"cannot reach {request.split()[0].authority}: {error.message.rstrip('.')}; "
                "`headwater serve` starts a server, --server URL names another",
                retryable=True,
            ) from error
        if response.status not in (200, 204):
            raise await _refusal(response)
        return response


class _Response:
    """A response as it comes: what was pushed is kept until it is asked for."""

    def __init__(self, pool: Pool, request: Request, silence_s: float) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._silence_s = silence_s
        self._data: deque[bytes] = deque()
        self._ended = False
        self._error: UpstreamError | None = None
        self._came = asyncio.Event()
        self._exchange = pool.send(request, self)

    # headwater.upstream.ResponseReceiver

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers
        self._came.set()

    def on_data(self, data: bytes) -> None:
        self._data.append(data)
        self._came.set()

    def on_end(self, error: UpstreamError | None) -> None:
        self._ended, self._error = True, error
        self._came.set()

    # Reading

    async def head(self) -> None:
        """Wait for the status; `UpstreamError` when there is none."""
        while not (self.status or self._ended):
            await self._more()
        if not self.status and self._error is not None:
            raise self._error

    async def reads(self) -> AsyncGenerator[bytes, None]:
        """Give the body as it comes; `_Cut` when it breaks off."""
        try:
            while self._data or not self._ended:
                if self._data:
                    yield self._data.popleft()
                else:
                    await self._more()
        finally:
            self.leave()
        if self._error is not None:
            raise _Cut from self._error

    async def whole(self, limit: int | None = None) -> bytes:
        """Give the body, or the first `limit` bytes and the read that they end in."""
        body = bytearray()
        async with aclosing(self.reads()) as reads:
            async for data in reads:
                body += data
                if limit is not None and len(body) >= limit:
                    break
        return bytes(body)

    def leave(self) -> None:
        """Read no further."""
        if not self._ended:
            self._exchange.cancel()

    async def _more(self) -> None:
        """Wait until more has come; silence for too long is an end, too."""
        self._came.clear()
        try:
            async with asyncio.timeout(self._silence_s):
                await self._came.wait()
        except TimeoutError:
            self.leave()
            message = f"nothing came for {self._silence_s:g} s"
            self.on_end(UpstreamError("upstream_timeout", message))


async def _events(response: _Response, decoder: Decoder) -> _Reads:
    """Give the events of one connection; `_Cut` at its end."""
    try:
        async with aclosing(response.reads()) as reads:
            async for data in reads:
                messages = decoder.feed(data)
                events = [event for each in messages for event in ev.decode_lines(each.data)]
                if events:
                    yield events
    except (SSEError, *UNREADABLE) as error:
        raise UpstreamError(
            "upstream_error", "the server does not speak Headwater's native wire", retryable=False
        ) from error
    raise _Cut


async def _refusal(response: _Response) -> HeadwaterError:
    """Make the error of an answer that is no stream, in the words of the server if it has any."""
    try:
        error: dict[str, Any] = json.loads(await response.whole(_ERROR_BYTES))["error"]
        return error_told(error["code"], str(error["message"]))
    except (_Cut, ValueError, LookupError, TypeError):
        message = f"the server answered {response.status}"
        return UpstreamError("upstream_error", message, retryable=response.status >= 500)
