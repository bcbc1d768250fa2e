"""A provider that is asked over HTTP: one dialect, one base URL, one key."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import copy_context
from typing import Final, Protocol

from headwater.errors import HeadwaterError, RequestError, UpstreamError
from headwater.events import Event, Usage
from headwater.generation import GenerationRequest, PartialText
from headwater.observe import Try
from headwater.observe.shown import keep_secret, redact
from headwater.providers.base import (
    Answers,
    Continues,
    Dialect,
    Parser,
    ProviderSource,
    Receiver,
)
from headwater.providers.continuing import Continuing
from headwater.providers.failures import RefusedKeyError
from headwater.providers.forwarding import Forwarding
from headwater.upstream import Exchange, Request

log = logging.getLogger("headwater.upstream")

# Enough for any provider's error document, too little to be worth sending us on purpose.
_MAX_ERROR_BODY: Final = 64 * 1024
_EXCERPT: Final = 200
_ESCAPED: Final = re.compile(r"\\u([0-9a-fA-F]{4})")


class Client(Protocol):
    """What of `headwater.upstream.Pool` a provider needs."""

    def send(self, request: Request, receiver: HttpSource) -> Exchange: ...


class HttpProvider:
    """Asks `base_url` in `dialect`, with `key` where there is one.

    `variable` is where the key was found, for whoever is told that it was refused. `continues`: it
    can be asked to go on from a given text, if the dialect can say so. `forwarding` says which
    members of a request it is sent; None: every one. `log_bodies`: how an error's body begins is
    logged, which may quote the prompt.
    """

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        base_url: str,
        key: str | None,
        client: Client,
        *,
        variable: str | None = None,
        continues: bool = False,
        forwarding: Forwarding | None = None,
        log_bodies: bool = False,
    ) -> None:
        self.name = name
        self._forwarding = forwarding
        self._log_bodies = log_bodies
        if key:
            keep_secret(key)
        self.continues = continues and isinstance(dialect, Continues)
        self._dialect = dialect
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._variable = variable
        self._client = client

    def source(
        self, request: GenerationRequest, model: str, said: PartialText | None = None
    ) -> HttpSource:
        dialect, url, key = self._dialect, self._base_url, self._key
        if self._forwarding is not None:
            self._forwarding.check(request.options, self.name)
        if said is None:
            upstream = dialect.request(url, key, request, model)
            return self._sent(dialect, upstream)
        if not isinstance(dialect, Continues):
            raise RequestError(f"{self.name} cannot go on from a given text.")
        going_on = dialect.continuation(url, key, request, model, said)
        answers = Continuing(dialect, going_on)
        return self._sent(answers, going_on.request)

    def _sent(self, answers: Answers, request: Request) -> HttpSource:
        return HttpSource(
            self.name,
            answers,
            request,
            self._client,
            variable=self._variable,
            log_bodies=self._log_bodies,
        )

    async def aclose(self) -> None:
        """Nothing is held here: connections are the client's."""


class HttpSource:
    """One request; its bytes go through the parser to the receiver in the read callback."""

    __slots__ = (
        "_answers",
        "_client",
        "_context",
        "_exchange",
        "_headers",
        "_is_page",
        "_log_bodies",
        "_parser",
        "_provider",
        "_receiver",
        "_refusal",
        "_request",
        "_status",
        "_variable",
    )

    attempts = 1
    tries: Sequence[Try] = ()
    route: str | None = None

    def __init__(
        self,
        provider: str,
        answers: Answers,
        request: Request,
        client: Client,
        *,
        variable: str | None = None,
        log_bodies: bool = False,
    ) -> None:
        # The connection's callbacks serve one request after another, and carry the id of none.
        self._context = copy_context()
        self._log_bodies = log_bodies
        self._provider = provider
        self._answers = answers
        self._request = request
        self._client = client
        self._variable = variable
        self._exchange: Exchange | None = None
        self._parser: Parser | None = None
        self._receiver: Receiver | None = None
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._refusal = b""  # the body of a response that is not a stream
        self._is_page = False

    @property
    def connected_at(self) -> float | None:
        return self._exchange.connected_at if self._exchange is not None else None

    @property
    def usage(self) -> Usage | None:
        return self._parser.usage if self._parser is not None else None

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._exchange = self._client.send(self._request, self)

    def hand_over(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def cancel(self) -> None:
        self._receiver = None
        if self._exchange is not None:
            self._exchange.cancel()

    # headwater.upstream.ResponseReceiver

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        self._status, self._headers = status, headers
        if status == 200:
            kind = headers.get("content-type", "text/event-stream").partition(";")[0].strip()
            self._parser = self._answers.parser(self._provider, kind.lower())
            self._is_page = kind.lower() == "text/html"

    def on_data(self, data: bytes) -> None:
        parser, receiver = self._parser, self._receiver
        if receiver is None:
            return
        if parser is None:
            if len(self._refusal) < _MAX_ERROR_BODY:
                self._refusal += data[:_MAX_ERROR_BODY]
            return
        if self._is_page and len(self._refusal) < _EXCERPT:
            self._refusal += data[:_EXCERPT]
        try:
            before = parser.messages
            events = parser.feed(data)
            if parser.closed:
                self._context.run(self._finish, parser, events)
            elif events:
                receiver.events(events)
            else:
                receiver.alive(parser.messages > before)
        except Exception:
            self._context.run(self._stumble)

    def on_end(self, error: UpstreamError | None) -> None:
        try:
            self._context.run(self._ended, error)
        except Exception:
            self._context.run(self._stumble)

    def _ended(self, error: UpstreamError | None) -> None:
        receiver, parser = self._receiver, self._parser
        if receiver is None:
            return
        if parser is not None:
            self._finish(parser, parser.end())
        elif error is not None:
            self._end(error)
        else:
            self._end(self._refused())

    def _stumble(self) -> None:
        """An answer made our own code fail. Its connection hears of no exception, so without this
        the request would wait for its deadline.
        """
        log.exception("The answer of %s could not be read", self._provider)
        if self._exchange is not None and not self._exchange.over:
            self._exchange.cancel()
        message = f"{self._provider} sent what could not be read."
        self._end(UpstreamError("upstream_error", message))

    def _refused(self) -> HeadwaterError:
        status, headers, body = self._status, self._headers, self._refusal
        failure = self._answers.failure(self._provider, status, headers, body)
        if isinstance(failure, RefusedKeyError) and self._variable:
            return failure.held_in(self._variable)
        return failure

    def _finish(self, parser: Parser, events: Sequence[Event]) -> None:
        receiver, self._receiver = self._receiver, None
        if self._exchange is not None:
            self._exchange.release()
        if receiver is not None and parser.outcome is not None:
            if isinstance(parser.outcome, HeadwaterError):
                self._log_refusal()
            receiver.end(parser.outcome, events)

    def _end(self, error: HeadwaterError) -> None:
        receiver, self._receiver = self._receiver, None
        self._log_refusal()
        if receiver is not None:
            receiver.end(error)

    def _log_refusal(self) -> None:
        if not self._refusal:
            return
        excerpt = f"{len(self._refusal)} bytes"
        if self._log_bodies:
            excerpt = redact(_unescaped(self._refusal.decode(errors="replace")))[:_EXCERPT]
        log.warning("%s answered HTTP %d: %s", self._provider, self._status, excerpt)


def _unescaped(text: str) -> str:
    """A JSON text without the escapes that could hide a key from `redact`."""
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
    return text.replace("\\/", "/")


class Deferred:
    """A source that can be made only when something is ready, such as a local engine.

    `make` gives the source, or raises `HeadwaterError`.
    """

    attempts = 1
    tries: Sequence[Try] = ()
    route: str | None = None

    def __init__(self, make: Callable[[], Coroutine[None, None, ProviderSource]]) -> None:
        self._make = make
        self._source: ProviderSource | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def connected_at(self) -> float | None:
        return self._source.connected_at if self._source is not None else None

    @property
    def usage(self) -> Usage | None:
        return self._source.usage if self._source is not None else None

    def start(self, receiver: Receiver) -> None:
        self._task = asyncio.get_running_loop().create_task(self._begin(receiver))

    def hand_over(self, receiver: Receiver) -> None:
        if self._source is not None:  # it is there: something has come from it
            self._source.hand_over(receiver)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._source is not None:
            self._source.cancel()

    async def _begin(self, receiver: Receiver) -> None:
        try:
            self._source = await self._make()
        except HeadwaterError as error:
            receiver.end(error)
        else:
            self._source.start(receiver)
