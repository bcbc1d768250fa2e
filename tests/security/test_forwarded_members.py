"""What of a request reaches a provider: what is known, and what the operator has allowed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from headwater.testing import Answer, FaultyUpstream, Request, chat, reply
from tests.server.serving import Answer as Answered
from tests.server.serving import Served, ask, serving
from tests.server.wires import PATHS

pytestmark = pytest.mark.system

CONFIG = """
[limits]
max_output_tokens = 100
[providers.closed]
base_url = "{url}"
[providers.some]
base_url = "{url}"
members = ["x_mine", "service_tier"]
[providers.any]
base_url = "{url}"
members = ["*"]
"""


class World:
    def __init__(self, upstream: FaultyUpstream, served: Served) -> None:
        self.upstream = upstream
        self.served = served

    def ask(self, provider: str, members: dict[str, Any], wire: str = "native") -> Answered:
        user = [{"role": "user", "content": "hi"}]
        body = {"model": f"{provider}/m", "messages": user, **members}
        return ask(self.served.port, PATHS[wire], body)

    def sent(self, provider: str, members: dict[str, Any]) -> dict[str, Any]:
        """What the provider was sent of these members."""
        before = len(self.upstream.posts)
        answer = self.ask(provider, members)
        assert answer.status == 200, answer
        [post] = self.upstream.posts[before:]
        return {name: value for name, value in post.json.items() if name in members}

    def refused(self, provider: str, members: dict[str, Any], wire: str = "native") -> Any:
        before = len(self.upstream.posts)
        answer = self.ask(provider, members, wire)
        assert answer.status == 400, answer
        assert len(self.upstream.posts) == before
        return answer.json["error"]


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    def answer(asked: Request) -> Answer:
        return reply(200, {"data": []}) if asked.method == "GET" else chat(["a"])

    with FaultyUpstream(answer) as upstream:
        config = CONFIG.replace("{url}", upstream.url)
        with serving(cwd=tmp_path_factory.mktemp("members"), config=config) as served:
            yield World(upstream, served)


SAMPLING: dict[str, Any] = {
    "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "seed": 3, "stop": ["x"],
    "repetition_penalty": 1.1, "repeat_penalty": 1.1, "ignore_eos": True, "min_tokens": 3,
    "n_predict": 50, "dry_multiplier": 0.5, "xtc_probability": 0.1, "grammar": "root ::= \"a\"",
    "chat_template_kwargs": {"enable_thinking": False}, "structured_outputs": {"choice": ["a"]},
    "reasoning_effort": "low", "metadata": {"api_key": "a name"}, "service_tier": "flex",
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"base_url": {}, "api_key": {}, "max_tokens": {}}}}}],
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLING)
@pytest.mark.parametrize("provider", ["closed", "any"])
def test_what_servers_document_for_sampling_goes_on(w: World, provider: str, name: str) -> None:
    assert w.sent(provider, {name: SAMPLING[name]}) == {name: SAMPLING[name]}


def test_what_is_not_known_is_refused_by_name(w: World) -> None:
    error = w.refused("closed", {"x_mine": 1})
    assert error["param"] == "x_mine"
    assert "[providers.closed] members" in error["message"]
    assert w.sent("some", {"x_mine": 1}) == {"x_mine": 1}
    assert w.refused("some", {"x_other": 1})["param"] == "x_other"
    assert w.sent("any", {"x_other": {"deep": [1]}}) == {"x_other": {"deep": [1]}}
    assert w.sent("closed", {"x_mine": None}) == {"x_mine": None}  # null asks for nothing


@pytest.mark.parametrize("wire", ["plain", "native", "openai"])
def test_the_refusal_comes_before_the_head(w: World, wire: str) -> None:
    assert w.refused("closed", {"x_mine": 1}, wire)["param"] == "x_mine"


REROUTING: dict[str, Any] = {
    "fallbacks": [{"model": "m", "api_base": "http://127.0.0.1:9/v1"}],
    "extra_body.base_url": {"extra_body": {"base_url": "http://127.0.0.1:9/v1"}},
    "extra_headers": {"extra_headers": {"Authorization": "Bearer x"}},
    "x.y[0].api_key": {"x": {"y": [{"api_key": "k"}]}},
    "x.proxy": {"x": {"proxy": "http://127.0.0.1:9"}},
    "webhook_url": {"webhook_url": "http://127.0.0.1:9"},
    "model_list": {"model_list": []},
    "models": {"models": ["dearer"]},
    "best_of": {"best_of": 9},
}


@pytest.mark.parametrize("name", REROUTING)
@pytest.mark.parametrize("provider", ["closed", "some", "any"])
def test_nothing_that_names_another_place_or_key_goes_on(
    w: World, provider: str, name: str
) -> None:
    members = {"fallbacks": REROUTING[name]} if name == "fallbacks" else REROUTING[name]
    param = w.refused(provider, members)["param"]
    assert param
    assert name.startswith(param.partition(".")[0].partition("[")[0])


LENGTHS: dict[str, Any] = {
    "max_tokens": 101, "max_completion_tokens": 101, "n_predict 101": {"n_predict": 101}, "n_predict": {"n_predict": -1}, "n_predict in words": {"n_predict": "all"},
    "max_new_tokens": 10**9, "min_tokens": 101, "reasoning": {"reasoning": {"max_tokens": 101}},
    "num_predict": {"x": [{"num_predict": 101}]},
}  # fmt: skip


@pytest.mark.parametrize("name", LENGTHS)
def test_no_other_name_gets_round_the_longest_answer(w: World, name: str) -> None:
    value = LENGTHS[name]
    members = value if isinstance(value, dict) else {name: value}
    assert "100 output tokens" in w.refused("any", members)["message"]


def test_the_dearer_tiers_are_the_operator_s_choice(w: World) -> None:
    assert w.refused("closed", {"service_tier": "priority"})["param"] == "service_tier"
    assert w.sent("some", {"service_tier": "priority"}) == {"service_tier": "priority"}


def test_the_limit_is_sent_where_nothing_was_asked(w: World) -> None:
    before = len(w.upstream.posts)
    assert w.ask("any", {"ignore_eos": True}).status == 200
    assert w.upstream.posts[before].json["max_tokens"] == 100


def test_every_list_of_the_catalogue_is_in_order() -> None:
    from headwater.providers.catalogue import load

    for wire, members in load().members.items():
        assert list(members) == sorted(set(members)), wire
        assert not {"base_url", "api_base", "api_key", "chat_template", "logits_processors"} & set(
            members
        )
    assert (
        json.dumps(sorted(load().members))
        == '["anthropic", "every", "local", "ollama", "openai", "responses"]'
    )
