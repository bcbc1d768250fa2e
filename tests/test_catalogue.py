from __future__ import annotations

import asyncio
import datetime
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from headwater.errors import ConfigurationError, UnavailableError
from headwater.providers import tape
from headwater.providers.listing import ABILITIES
from headwater.providers.tape.shipped import FOLDER
from headwater.routing.models import ModelInfo, Models
from headwater.settings import ModelSettings, Settings
from headwater.upstream import Pool

CATALOGUE: dict[str, Any] = tomllib.loads(
    files("headwater.providers").joinpath("catalogue.toml").read_text("utf-8")
)
ENTRIES: list[dict[str, Any]] = CATALOGUE["models"]
PROVIDERS: dict[str, dict[str, Any]] = CATALOGUE["providers"]
#: Providers that want a key, and have models of their own here.
KEYED = [name for name, provider in PROVIDERS.items() if "api_key_env" in provider]
KEYS = {PROVIDERS[name]["api_key_env"]: "key" for name in KEYED}


def resolved(names: list[str | None], environ: Mapping[str, str]) -> list[str]:
    """The routes of `names`."""

    async def scenario() -> list[str]:
        pool = Pool()
        models = Models(Settings(), pool, environ)
        try:
            return [(await models.resolve(name)).route for name in names]
        finally:
            await models.aclose()
            await pool.aclose()

    return asyncio.run(scenario())


def listed(environ: Mapping[str, str]) -> list[ModelInfo]:
    async def scenario() -> list[ModelInfo]:
        pool = Pool()
        models = Models(Settings(), pool, environ)
        try:
            return await models.available(ask=False)
        finally:
            await models.aclose()
            await pool.aclose()

    return asyncio.run(scenario())


def is_https(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" and "." in parts.netloc and not parts.query


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["id"]))
def test_an_entry_says_who_said_so_and_when(entry: dict[str, Any]) -> None:
    assert is_https(entry["source"])
    assert datetime.date.fromisoformat(entry["checked"]) >= datetime.date(2026, 1, 1)
    assert entry.get("context", 1) > 0
    assert set(entry.get("can", ())) <= set(ABILITIES)
    assert entry["providers"]
    assert set(entry["providers"]) <= set(PROVIDERS)


def test_there_are_thirty_models() -> None:
    assert len({entry["id"] for entry in ENTRIES}) >= 30


def test_no_model_is_there_twice() -> None:
    pairs = [(entry["id"], provider) for entry in ENTRIES for provider in entry["providers"]]
    assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize("name", KEYED)
def test_a_provider_is_reached_with_a_key(name: str) -> None:
    provider = PROVIDERS[name]
    assert is_https(provider["base_url"])
    assert provider["api_key_env"] == f"{name.upper()}_API_KEY"
    assert any(name in entry["providers"] for entry in ENTRIES), "it has no model"


def test_what_one_runs_oneself_is_there_by_name_alone() -> None:
    """Without a key it would else answer where nothing was set up."""
    assert [name for name in PROVIDERS if name not in KEYED] == ["ollama"]
    assert not any("ollama" in entry["providers"] for entry in ENTRIES)
    assert resolved(["ollama/llama3.2:1b"], {}) == ["ollama/llama3.2:1b"]


@pytest.mark.parametrize("name", [name for name in PROVIDERS if "source" in PROVIDERS[name]])
def test_a_fact_of_a_provider_says_who_said_so_and_when(name: str) -> None:
    provider = PROVIDERS[name]
    assert is_https(provider["source"])
    assert datetime.date.fromisoformat(provider["checked"]) >= datetime.date(2026, 1, 1)


def test_every_fact_has_a_source() -> None:
    odd = [n for n, p in PROVIDERS.items() if p.get("dialect") != "openai" or "renames" in p]
    assert odd == [name for name in PROVIDERS if "source" in PROVIDERS[name]]


def test_every_listed_name_reaches_its_provider() -> None:
    """Also ids such as openai/gpt-oss-120b, which is not a model of our provider openai."""
    infos = [info for info in listed(KEYS) if info.provider != "local"]
    assert all(info.available for info in infos)
    assert len({info.id for info in infos}) == len(infos)
    routes = resolved([info.id for info in infos], KEYS)
    expected = {(p, f"{p}/{entry['id']}") for entry in ENTRIES for p in entry["providers"]}
    expected |= {("tape", f"tape/{name}") for name in tape.names(FOLDER)}
    assert {(info.provider, route) for info, route in zip(infos, routes, strict=True)} == expected


def test_a_tape_is_never_what_answers_where_none_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert [info.provider for info in listed({}) if info.available] == ["tape"] * len(
        tape.names(FOLDER)
    )
    with pytest.raises(UnavailableError, match="No model is ready"):
        resolved([None], {})


@pytest.mark.parametrize("name", KEYED)
def test_one_key_is_enough_to_name_no_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.providers.local.available", lambda name: False)
    [route] = resolved([None], {PROVIDERS[name]["api_key_env"]: "key"})
    first = next(entry["id"] for entry in ENTRIES if name in entry["providers"])
    assert route == f"{name}/{first}"


def ways(name: str, settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """The routes that a request for `name` may take, in order."""

    async def scenario() -> list[str]:
        pool = Pool()
        models = Models(settings, pool, environ)
        try:
            return [each.route for each in (await models.resolve(name)).candidates]
        finally:
            await models.aclose()
            await pool.aclose()

    return asyncio.run(scenario())


SHARED = next(entry for entry in ENTRIES if len(entry["providers"]) > 1)


def test_a_model_of_several_providers_may_take_all_whose_key_is_there() -> None:
    providers = SHARED["providers"]
    routes = [f"{provider}/{SHARED['id']}" for provider in providers]
    assert ways(SHARED["id"], Settings(), KEYS) == routes
    last = {PROVIDERS[providers[-1]]["api_key_env"]: "key"}
    assert ways(SHARED["id"], Settings(), last) == routes[-1:]
    assert ways(routes[1], Settings(), KEYS) == routes[1:2]


def test_a_route_of_one_s_own_takes_what_is_there_in_order() -> None:
    route = ("groq/x", "openai/y", "deepseek/z")
    settings = Settings(models={"m": ModelSettings(route=route)})
    assert ways("m", settings, KEYS) == list(route)
    assert ways("m", settings, {"DEEPSEEK_API_KEY": "k"}) == ["deepseek/z"]
    with pytest.raises(UnavailableError, match="GROQ_API_KEY"):
        ways("m", settings, {})


def test_a_route_that_names_nobody_is_a_wrong_setting() -> None:
    settings = Settings(models={"m": ModelSettings(route=("openai/y", "nobody/z"))})
    with pytest.raises(
        ConfigurationError, match=r"add a table \[providers.nobody\], or use one of anth"
    ):
        ways("m", settings, KEYS)
