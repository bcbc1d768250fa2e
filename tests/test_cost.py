"""What a token costs, counted in calls: a number that no machine changes.

Bytes go into the upstream's connection and come out of the reader's transport; between the two lies
the whole path, with no task, no queue and no timer. Whoever adds a call a token meets it here.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType, SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
import uvloop
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from headwater import wires
from headwater.generation import GenerationRequest
from headwater.providers.http import HttpProvider, HttpSource
from headwater.providers.openai_chat import ChatCompletions
from headwater.routing.router import Router
from headwater.routing.source import UnstartedAttempt
from headwater.server.transport import TransportSink
from headwater.settings import HedgeSettings, Settings
from headwater.stores.memory import MemoryStore
from headwater.streams import Hub
from headwater.streams.generation import Generation, StreamOptions
from headwater.upstream import Exchange, Request
from headwater.upstream.connection import Connection

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_EVENT = (
    b'data: {"id":"chatcmpl-AkfqUTJ5Jd0v8vY3yZbq0mFh6mKpL","object":"chat.completion.chunk",'
    b'"created":1795354284,"model":"gpt-4o-mini","system_fingerprint":"fp_0ba0d124f1","choices":'
    b'[{"index":0,"delta":{"content":" sky"},"logprobs":null,"finish_reason":null}]}\n\n'
)
_TOKEN = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
# From Python 3.12 on these are no calls any more.
_INLINED = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>"})


class Cost(NamedTuple):
    """Calls of Python functions, and writes to the reader's transport."""

    calls: int
    writes: int


class Transport(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        """There is nothing to close."""


class Client:
    """`providers.http.Client` with a connection that the test feeds."""

    def __init__(self) -> None:
        self.connection = Connection(lambda _: None)
        self.connection.connection_made(Transport())

    def send(self, request: Request, receiver: HttpSource) -> Exchange:
        exchange = Exchange(request, receiver, lambda _: None)
        self.connection.start(exchange)
        return exchange


def counted(call: Callable[[], None], transport: Transport) -> Cost:
    """What `call` costs; the fake transport's own calls are not of the path."""
    calls = 0
    own = {Transport.write.__code__, Transport.is_closing.__code__, call.__code__}

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        code = frame.f_code
        if event == "call" and code.co_name not in _INLINED and code not in own:
            calls += 1

    before = len(transport.written)
    outer = sys.getprofile()
    gc.disable()  # what other tests left behind is finalized at its own cost
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(outer)
        gc.enable()
    return Cost(calls, len(transport.written) - before)


async def cost_of(wire: str, tokens: int, readers: int = 1) -> Cost:
    """What a read that brings `tokens` tokens costs, all readers of one wire together."""
    client = Client()
    hub = Hub(Settings(), MemoryStore())
    provider = HttpProvider("test", ChatCompletions(), "http://127.0.0.1:1/v1", None, client)
    request = GenerationRequest(messages=[{"role": "user", "content": "Why?"}])
    candidates = [
        UnstartedAttempt(name, partial(provider.source, request, "m")) for name in ("a", "b")
    ]
    # As a request is served: what chose the route is no longer in the way of a token.
    source = Router(hub.settings.timeouts).source(candidates, "m", HedgeSettings())
    stream = await hub.start(
        Generation(source, "m", timed="once begun"),
        StreamOptions(principal="me", on_disconnect="continue"),
    )
    transport = Transport()
    for _ in range(readers):
        hub.read(stream.id, wires.get(wire).format(), sink_to(transport))
    client.connection.data_received(_HEAD + _TOKEN)  # the first is dearer: it is timed
    read = _TOKEN * tokens
    costs = {counted(lambda: client.connection.data_received(read), transport) for _ in range(3)}
    assert len(costs) == 1, f"a read does not always cost the same: {costs}"
    assert b"".join(transport.written).count(b" sky") == (3 * tokens + 1) * readers
    stream.producer.stop()
    return costs.pop()


def sink_to(transport: Transport) -> TransportSink:
    cycle = SimpleNamespace(
        transport=transport,
        flow=SimpleNamespace(write_paused=False),
        chunked_encoding=True,
        disconnected=False,
        response_complete=False,
        message_event=asyncio.Event(),
        keep_alive=True,
        on_response=lambda: None,
    )
    gone = asyncio.get_running_loop().create_future()
    return TransportSink(cast(RequestResponseCycle, cycle), gone)


# As measured, in every wire; they are meant to fall. A change that needs more says here what for.
#: A read, whatever it brings: connection, provider, parser and decoder, producer, store, feed.
_A_READ = 9
#: One that brings more than one whole event: the decoder's general way.
_LINES = 1
#: Each token of it: the parser's two steps, and the wire's frame.
_A_TOKEN = 3
#: Each reader: its own step and its sink's.
_A_READER = 2


@pytest.mark.parametrize("tokens", [1, 50])
@pytest.mark.parametrize("wire", wires.names())
def test_a_read_costs_so_many_calls_and_one_write(wire: str, tokens: int) -> None:
    a_read = _A_READ if tokens == 1 else _A_READ + _LINES
    assert measured(wire, tokens) == Cost(a_read + _A_TOKEN * tokens + _A_READER, 1)


@pytest.mark.parametrize("wire", wires.names())
def test_another_reader_costs_its_own_delivery_alone(wire: str) -> None:
    one, three = measured(wire, 50), measured(wire, 50, readers=3)
    assert three == Cost(one.calls + 2 * _A_READER, 3)


def measured(wire: str, tokens: int, readers: int = 1) -> Cost:
    # uvloop, as in `headwater serve`: its clock is no Python function.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(cost_of(wire, tokens, readers))
