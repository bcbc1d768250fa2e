"""Whatever a provider sends, its caller has an end at once, and nothing of the server's is moved."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import UpstreamError
from headwater.generation import GenerationRequest
from headwater.providers.base import Outcome
from headwater.providers.failures import stream_failure
from headwater.providers.http import HttpProvider
from headwater.providers.openai_chat import ChatCompletions
from headwater.providers.parser import StreamParser
from headwater.sse import Message
from headwater.testing import Answer, FaultyUpstream, Request, chat, chunk, reply
from headwater.upstream import Pool
from tests.server.serving import ask, data_of, frames, serving
from tests.server.wires import PATHS, body_of
from tests.server.world import World, world

pytestmark = pytest.mark.system

KINDS = ("openai", "responses", "anthropic", "gemini", "ollama")
CONFIG = """
[limits]
tokens_per_minute = 1000
"""
JSON = (("Content-Type", "application/json"),)
LATIN = '{"error":{"type":"x","message":"d\xe9pass\xe9"}}'.encode("latin-1")


def error_of(body: bytes) -> Any:
    return json.loads(data_of(frames(body)[-1]))


class Odd:
    """A server with a provider of each kind; all of them answer what is planned."""

    def __init__(self, cwd: Path) -> None:
        self.plan: list[Answer] = []
        self.upstream = FaultyUpstream(self._answer)
        self.cwd = cwd
        self.port = 0

    def _answer(self, asked: Request) -> Answer:
        return self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]

    def ask(self, kind: str, *plan: Answer) -> tuple[bytes, float]:
        """The answer in the native wire, and the seconds that it took."""
        self.plan = list(plan)
        began = time.monotonic()
        body = body_of("native", "hello", model=f"{kind}/m")
        answer = ask(self.port, PATHS["native"], body)
        assert answer.status == 200, answer
        return answer.body, time.monotonic() - began


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Odd]:
    one = Odd(tmp_path_factory.mktemp("odd"))
    with one.upstream:
        config = "\n".join(
            f'[providers.{kind}]\nbase_url = "{one.upstream.url}"\ndialect = "{kind}"'
            for kind in KINDS
        )
        with serving(cwd=one.cwd, config=config) as served:
            one.port = served.port
            yield one
    assert "Traceback" not in served.output, served.output


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "code"), [(200, "upstream_error"), (400, "invalid_request"), (429, "rate_limited")]
)
def test_an_error_that_is_not_utf_8_ends_the_request_at_once(
    odd: Odd, kind: str, status: int, code: str
) -> None:
    """With the code of its status, and with its text as far as it can be read."""
    body, took = odd.ask(kind, Answer([LATIN], status, JSON, framing="length"))
    error = error_of(body)
    assert error["code"] == code, error
    assert "d\ufffdpass\ufffd" in error["message"]
    assert took < 15


def test_no_failures_elsewhere_take_its_retries(odd: Odd) -> None:
    """Those of a tape cost nothing, so any caller can have as many as they like."""
    refused = body_of("native", "hello", model="tape/story?refuse")
    with ThreadPoolExecutor(20) as pool:
        for answer in pool.map(lambda _: ask(odd.port, PATHS["native"], refused), range(20)):
            assert error_of(answer.body)["code"] != "internal"
    body, _ = odd.ask("openai", Answer([b"{}"], 500, JSON, framing="length"))
    assert b'"attempts":3' in body


def test_it_is_asked_again_as_after_any_error(odd: Odd) -> None:
    failed = Answer([LATIN], 500, JSON, framing="length")
    body, _ = odd.ask("openai", failed, chat(["well"]))
    assert b"well" in body
    assert b'"attempts":2' in body


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("anthropic", {"type": "message", "content": [{"type": "text", "text": "a", "citations": 5}], "stop_reason": "end_turn"}),
        ("responses", {"object": "response", "status": "completed", "output": [{"type": "message", "content": 5}]}),
        ("responses", {"object": "response", "status": "completed", "output": [{"type": "message", "content": [{"type": "output_text", "text": "a", "annotations": 5}]}]}),
    ],
)  # fmt: skip
def test_members_of_another_type_are_not_there(odd: Odd, kind: str, answer: Any) -> None:
    body, took = odd.ask(kind, reply(200, answer))
    assert json.loads(data_of(frames(body)[-1]))["reason"] == "stop"
    assert took < 15


@pytest.mark.parametrize(
    ("kind", "vendor", "part", "value"),
    [
        ("responses", "openai", "item", {"type": "item_reference", "id": "msg_1"}),
        ("responses", "openai", "item", {"type": "message", "role": "user", "content": [{"type": "input_file", "file_url": "http://a/"}]}),
        ("responses", "openai", "item", {"type": "computer_call_output", "output": {"file_id": "f"}}),
        ("responses", "openai", "item", "x"),
        ("responses", "openai", "reasoning", {"type": "item_reference", "id": "rs_1"}),
        ("anthropic", "anthropic", "block", {"type": "document", "source": {"type": "file", "file_id": "f"}}),
        ("anthropic", "anthropic", "block", {"type": "image", "source": {"type": "url", "url": "http://a/"}}),
        ("anthropic", "anthropic", "block", {"type": "tool_result"}),
        ("anthropic", "anthropic", "signature", {"type": "x"}),
        ("anthropic", "anthropic", "redacted_thinking", 7),
        ("anthropic", "anthropic", "citation", {"type": "document"}),
        ("gemini", "gemini", "part", {"fileData": {"fileUri": "https://a/"}}),
        ("gemini", "gemini", "part", {"executableCode": {}, "fileData": {}}),
        ("gemini", "gemini", "thought_signature", {"fileData": {}}),
    ],
)  # fmt: skip
def test_what_a_provider_cannot_have_sent_is_not_sent_to_it(
    odd: Odd, kind: str, vendor: str, part: str, value: Any
) -> None:
    """As its own data come back, which no list of members guards."""
    before = len(odd.upstream.posts)
    said = {
        "role": "assistant",
        "content": "x",
        "provider_data": [{"provider": vendor, "part": part, "value": value}],
    }
    messages = [{"role": "user", "content": "x"}, said, {"role": "user", "content": "y"}]
    answer = ask(odd.port, PATHS["native"], {"model": f"{kind}/m", "messages": messages})
    assert answer.status == 400, answer
    assert answer.error["param"] == "messages[1].provider_data[0].value"
    assert len(odd.upstream.posts) == before


class Breaking(StreamParser):
    """Has a fault of our own."""

    def read_message(self, message: Message, events: list[Any], *, last: bool = False) -> None:
        raise ZeroDivisionError


class Dialect(ChatCompletions):
    """Reads with it."""

    def parser(self, provider: str, content_type: str) -> Any:
        return Breaking(provider, content_type)


class Receiver:
    """Keeps the outcome."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def events(self, events: object) -> None:
        pass

    def alive(self, told: bool) -> None:
        pass

    def end(self, outcome: Outcome, events: object = ()) -> None:
        self.outcome.set_result(outcome)


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json"])
def test_a_fault_of_a_parser_is_an_error_of_its_stream(
    content_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While bytes come, and at the end of the body."""

    async def scenario(url: str) -> Outcome:
        pool, receiver = Pool(), Receiver()
        provider = HttpProvider("odd", Dialect(), url, None, pool)
        request = GenerationRequest(messages=[{"role": "user", "content": "x"}])
        provider.source(request, "m").start(receiver)
        try:
            return await asyncio.wait_for(receiver.outcome, 10)
        finally:
            await pool.aclose()

    answer = Answer([chunk({"content": "x"})], 200, (("Content-Type", content_type),))
    with FaultyUpstream(lambda _: answer) as upstream:
        outcome = asyncio.run(scenario(upstream.url))
    assert isinstance(outcome, UpstreamError)
    assert outcome.code == "upstream_error"
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("body", [b'{"data":[{"id":"\xe9"}]}', b"\xff", b"[" * 5000])
def test_a_list_of_models_that_cannot_be_read_is_none(tmp_path: Path, body: bytes) -> None:
    def answer(asked: Request) -> Answer:
        if asked.method == "GET":
            return Answer([body], 200, JSON, framing="length")
        return chat(["hi"])

    with (
        FaultyUpstream(answer) as upstream,
        serving("--upstream", upstream.url, cwd=tmp_path) as served,
    ):
        assert ask(served.port, "/v1/models").status == 200
        named = body_of("native", "x", model="upstream/m")
        assert ask(served.port, PATHS["native"], named).status == 200
        # Without a name the default answers: the embedded model, where it has been fetched.
        assert ask(served.port, PATHS["native"], body_of("native", "x")).status in (200, 503)


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("usage"), CONFIG) as running:
        yield running


@pytest.mark.parametrize("counted", ["1" + "0" * 30, "1" + "0" * 400, "-5", "true", "1.5", '"7"'])
def test_what_a_provider_counts_is_bounded(odd: Odd, counted: str) -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":%b,"completion_tokens":1}}\n\n'
    steps = [*chat(["hi"]).steps[:-1], usage % counted.encode(), b"data: [DONE]\n\n"]
    body, _ = odd.ask("openai", Answer(steps))
    end = json.loads(data_of(frames(body)[-1]))
    assert end["reason"] == "stop", end
    if end["usage"] is not None:
        assert 0 <= end["usage"]["input_tokens"] <= 2**53


def test_negative_counts_refill_nothing(w: World) -> None:
    """What was used stays used, whatever the provider says of the next answer."""
    for prompt_tokens in (900, -900, 900):
        used = {"prompt_tokens": prompt_tokens, "completion_tokens": 0}
        assert w.whole("native", chat(["a"], usage=used)).head.status == 200
    refused = ask(w.port, PATHS["native"], body_of("native", "x"))
    assert refused.status == 429, refused
    # 800 and one are owed, at 1,000 a minute.
    assert 30 < int(refused.headers["retry-after"]) < 60


def test_a_message_of_megabytes_is_not_searched_whole() -> None:
    """What is shown of it holds no key; nor does what stands where it was cut."""
    key = "sk-" + "k" * 200
    for place in (0, 300, 64 * 1024 - 300, 64 * 1024 - 100):
        # What is replaced makes the rest move to the front.
        text = f"{'sk-' + 'a' * (place - 4) + ' ' if place > 8 else ''}{key} {'x' * 10_000_000}"
        began = time.thread_time()
        data = json.dumps({"error": {"message": text}}).encode()
        said = stream_failure("odd", data).message
        assert "kkk" not in said
        assert len(said) < 600
        assert time.thread_time() - began < 2
