"""What providers list themselves: each shape, and what fails, from loopback fakes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.providers.listing import Listed, read_list
from headwater.routing.models import ModelInfo, Models
from headwater.settings import ProviderSettings, Settings
from headwater.testing import STALL, Answer, FaultyUpstream, Request, reply
from headwater.upstream import Pool
from tests.server.serving import ask, serving

SHAPES: dict[str, tuple[Any, list[Listed]]] = {
    "openai": (
        {"object": "list", "data": [{"id": "gpt-x", "object": "model", "owned_by": "o"}, {"id": "text-embedding-3"}, {"id": "gpt-image-1"}, {"id": "gpt-x"}]},
        [Listed("gpt-x")],
    ),
    "openai, as OpenRouter has it": (
        {"data": [{"id": "a/b", "context_length": 4096, "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]}, "supported_parameters": ["tools", "reasoning", "structured_outputs", "seed"]}, {"id": "a/pictures", "architecture": {"output_modalities": ["image"]}}]},
        [Listed("a/b", 4096, ("tools", "images", "reasoning", "json"))],
    ),
    "openai, as Mistral has it": (
        {"data": [{"id": "m", "max_context_length": 32768, "capabilities": {"completion_chat": True, "function_calling": True, "vision": False}}, {"id": "ocr", "capabilities": {"completion_chat": False}}]},
        [Listed("m", 32768, ("tools",))],
    ),
    "openai, as Groq has it": ({"data": [{"id": "qwen/q", "context_window": 131072}, {"id": "whisper-large"}]}, [Listed("qwen/q", 131072)]),
    "openai, as vLLM has it": ({"data": [{"id": "q", "max_model_len": 8192}]}, [Listed("q", 8192)]),
    "openai, a bare list": ([{"id": "q"}], [Listed("q")]),
    "anthropic": (
        {"data": [{"type": "model", "id": "claude-x", "display_name": "X", "max_input_tokens": 1_000_000, "capabilities": {"image_input": {"supported": True}, "thinking": {"supported": True}, "structured_outputs": {"supported": False}}}, {"id": "claude-old"}], "has_more": False},
        [Listed("claude-x", 1_000_000, ("tools", "images", "reasoning")), Listed("claude-old")],
    ),
    "gemini": (
        {"models": [{"name": "models/gemini-x", "inputTokenLimit": 1048576, "thinking": True, "supportedGenerationMethods": ["generateContent"]}, {"name": "models/aqa", "supportedGenerationMethods": ["generateAnswer"]}], "nextPageToken": "x"},
        [Listed("gemini-x", 1048576, ("reasoning",))],
    ),
    "ollama": (
        {"models": [{"name": "llama3.2:1b", "model": "llama3.2:1b"}, {"name": "q", "capabilities": ["completion", "tools", "thinking"]}, {"name": "bge", "capabilities": ["embedding"]}]},
        [Listed("llama3.2:1b"), Listed("q", None, ("tools", "reasoning"))],
    ),
}  # fmt: skip
WIRES = ("openai", "anthropic", "gemini", "ollama")
GARBAGE: list[bytes] = [
    b"", b"<html>", b"\xff", b"null", b"7", b"[]", b"{}", b"[" * 100_000, b'{"data": 7, "models": {}}',
    b'{"data": [7, null, {}, {"id": 7}, {"id": ""}, {"id": "a\\nb"}], "models": [7, {"name": []}]}',
    b'{"data": [{"id": "' + b"x" * 300 + b'"}], "models": [{"name": "' + b"x" * 300 + b'"}]}',
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape(shape: str) -> None:
    value, listed = SHAPES[shape]
    assert read_list(shape.partition(",")[0], json.dumps(value).encode()) == listed


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("body", GARBAGE, ids=lambda body: repr(body[:30]))
def test_what_is_no_list_has_no_models(wire: str, body: bytes) -> None:
    assert read_list(wire, body) == []


def test_odd_members_are_not_facts() -> None:
    odd = {
        "id": "m",
        "context_length": "big",
        "context_window": True,
        "max_model_len": -1,
        "capabilities": [],
        "architecture": 7,
    }
    assert read_list("openai", json.dumps({"data": [odd]}).encode()) == [Listed("m")]


class Providers:
    """One fake of each kind, behind the paths of its own API."""

    def __init__(self, upstream: FaultyUpstream) -> None:
        self.upstream = upstream
        kinds: list[tuple[str, Any, str | None]] = [
            ("ours", "openai", "OUR_KEY"),
            ("anthropic", "anthropic", "ANTHROPIC_API_KEY"),
            ("gemini", "gemini", "GEMINI_API_KEY"),
            ("ollama", "ollama", None),
            ("hangs", "openai", None),
            ("garbage", "openai", None),
            ("refuses", "openai", None),
            ("keyless", "openai", "NOT_THERE"),
        ]
        self.settings = Settings(
            providers={
                name: ProviderSettings(
                    base_url=f"{upstream.url}/{name}", dialect=wire, api_key_env=key
                )
                for name, wire, key in kinds
            }
        )
        self.environ = {"OUR_KEY": "k1", "ANTHROPIC_API_KEY": "k2", "GEMINI_API_KEY": "k3"}

    def asked(self, name: str) -> list[Request]:
        return [each for each in self.upstream.requests if f"/{name}/" in each.path]


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Providers]:
    monkeypatch.setattr("headwater.routing.listings._TIMEOUT_S", 1.0)

    def answer(asked: Request) -> Answer:
        name = asked.path.split("/v1/")[1].split("/")[0]
        match name:
            case "hangs":
                return Answer([STALL])
            case "garbage":
                return Answer([b"<html>"], framing="length")
            case "refuses":
                return reply(401, {"error": {"message": "no"}})
        return reply(200, SHAPES["openai" if name == "ours" else name][0])

    with FaultyUpstream(answer) as upstream:
        yield Providers(upstream)


def listed(providers: Providers, times: int = 1) -> list[list[ModelInfo]]:
    async def scenario() -> list[list[ModelInfo]]:
        pool = Pool()
        models = Models(providers.settings, pool, providers.environ)
        try:
            together = await asyncio.gather(*(models.available() for _ in range(times)))
            return [*together, await models.available()]
        finally:
            await models.aclose()
            await pool.aclose()

    return asyncio.run(scenario())


def test_every_provider_that_can_be_used_is_asked_once(providers: Providers) -> None:
    lists = listed(providers, times=3)
    assert lists[0] == lists[1] == lists[2] == lists[3]
    found = {info.id: info for info in lists[0]}
    for name, provider, context in (
        ("ours/gpt-x", "ours", None),
        ("anthropic/claude-x", "anthropic", 1_000_000),
        ("gemini/gemini-x", "gemini", 1_048_576),
        ("ollama/llama3.2:1b", "ollama", None),
    ):
        info = found[name]
        assert (info.provider, info.available, info.context) == (provider, True, context)
    assert not any(info.provider in ("hangs", "garbage", "refuses") for info in lists[0])
    for name in ("ours", "anthropic", "gemini", "ollama", "hangs", "garbage", "refuses"):
        assert len(providers.asked(name)) == 1, name
    assert providers.asked("keyless") == []
    [ours], [claude], [gemini], [ollama] = (
        providers.asked(name) for name in ("ours", "anthropic", "gemini", "ollama")
    )
    assert ours.headers["authorization"] == "Bearer k1"
    assert (claude.headers["x-api-key"], "authorization" in claude.headers) == ("k2", False)
    assert gemini.headers["x-goog-api-key"] == "k3"
    assert ollama.path.endswith("/ollama/api/tags")


def test_what_is_listed_is_reached_by_that_name(providers: Providers) -> None:
    async def scenario() -> None:
        pool = Pool()
        models = Models(providers.settings, pool, providers.environ)
        try:
            for info in await models.available():
                if info.available and info.provider != "local":
                    choice = await models.resolve(info.id)
                    assert choice.candidates[0].provider.name == info.provider, info.id
        finally:
            await models.aclose()
            await pool.aclose()

    asyncio.run(scenario())


def test_what_a_list_says_completes_the_catalogue() -> None:
    claude = {
        "id": "claude-sonnet-5-5",
        "max_input_tokens": 7,
        "capabilities": {"image_input": {"supported": True}},
    }
    with FaultyUpstream(lambda _: reply(200, {"data": [claude]})) as upstream:
        one = Providers(upstream)
        [info] = [
            i
            for i in listed(one)[0]
            if i.id.endswith("claude-sonnet-5-5") and i.provider == "anthropic"
        ]
    assert (info.id, info.context, info.can) == ("claude-sonnet-5-5", 7, ("tools", "images"))
    assert info.source is not None


@pytest.mark.system
def test_v1_models_tells_it_all(tmp_path: Path) -> None:
    """OpenAI's shape, and our members besides; a provider that hangs or fails breaks nothing."""

    def answer(asked: Request) -> Answer:
        return (
            Answer([STALL])
            if "hangs" in asked.path
            else reply(200, SHAPES["openai, as OpenRouter has it"][0])
        )

    with FaultyUpstream(answer) as upstream:
        config = f'''
[providers.ours]
base_url = "{upstream.url}"
[providers.hangs]
base_url = "{upstream.url}/hangs"
[providers.ollama]
base_url = "{upstream.url}/hangs"
'''
        with serving(cwd=tmp_path, config=config) as served:
            value = ask(served.port, "/v1/models").json
    assert value["object"] == "list"
    models = {model["id"]: model for model in value["data"]}
    assert len(models) == len(value["data"]) >= 30
    assert models["ours/a/b"] == {
        "id": "ours/a/b", "object": "model", "owned_by": "ours", "provider": "ours", "available": True, "needs": None,
        "context": 4096, "can": ["tools", "images", "reasoning", "json"], "source": None, "checked": None,
    }  # fmt: skip
    claude = models["claude-opus-5-5"]
    assert (claude["available"], claude["needs"]) == (False, "ANTHROPIC_API_KEY")
    assert claude["can"] == ["tools", "images", "reasoning"]
    assert claude["source"].startswith("https://")
