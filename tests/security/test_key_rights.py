"""What a key may do: its models, its limits, and what only an administrator's may read."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.testing import STALL, Answer, chat, chunk
from tests.helpers.polling import eventually
from tests.server.serving import ask
from tests.server.wires import EVERY_WIRE, PATHS, body_of
from tests.server.world import BOUND_S, World, world

pytestmark = pytest.mark.system

NAMES = ("ANN", "BOB", "CAROL")
KEYS = {name: f"the-key-of-{name.lower()}-0123" for name in NAMES}
ANN, BOB, CAROL = ({"Authorization": f"Bearer {KEYS[name]}"} for name in NAMES)
CONFIG = """
[server]
drain_s = 0
[limits]
concurrent_streams = 3
max_output_tokens = 100
[auth.keys]
ann = { key = "env:ANN", models = ["test-*", "tape/st?ry"], limits = { concurrent_streams = 1 } }
bob = "env:BOB"
carol = { key = "env:CAROL", admin = true, models = ["tape/*"], limits = { max_output_tokens = 7 } }
"""
HELD = Answer([chunk({"content": "abc"}), STALL])


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("server"), CONFIG, **KEYS) as running:
        yield running


def models(w: World, who: dict[str, str]) -> set[str]:
    return {model["id"] for model in ask(w.port, "/v1/models", headers=who).json["data"]}


def test_a_key_sees_its_models_alone(w: World) -> None:
    every = models(w, BOB)
    assert {"test-model", "tape/story", "tape/bursty"} < every
    assert models(w, ANN) == {"test-model", "tape/story"}
    assert models(w, CAROL) == {name for name in every if name.startswith("tape/")}
    defaults = [ask(w.port, "/v1/models", headers=who).json["default"] for who in (BOB, ANN, CAROL)]
    assert defaults == ["test-model", "test-model", None]


@pytest.mark.parametrize("wire", EVERY_WIRE)
def test_another_model_is_not_there_in_any_wire(w: World, wire: str) -> None:
    before = len(w.upstream.posts)
    # One that there is, one that there is not, and the one of a request that names none.
    for model in ({"model": "test-model"}, {"model": "no/such"}, {}):
        answer = ask(w.port, PATHS[wire], body_of(wire, "prompt", **model), CAROL)
        if answer.status == 200:  # a head that does not wait tells it in the stream
            assert b"There is no model" in answer.body
        else:
            assert (answer.status, b"There is no model" in answer.body) == (404, True), answer
    assert len(w.upstream.posts) == before
    prompt = w.plan(chat(["hi"]))
    answer = ask(w.port, PATHS[wire], body_of(wire, prompt, model="test-model"), ANN)
    assert (answer.status, b"hi" in answer.body) == (200, True)


def test_its_limits_are_over_those_of_all(w: World) -> None:
    def begin(who: dict[str, str]) -> int:
        headers = who | {"Headwater-On-Disconnect": "continue"}
        reader = w.post("native", w.plan(HELD), headers, model="test-model")
        reader.leave()
        return reader.head.status

    for who, model, most in ((ANN, "test-model", 100), (CAROL, "tape/story", 7)):
        body = body_of("native", "x", model=model, max_tokens=most + 1)
        answer = ask(w.port, PATHS["native"], body, who)
        assert (answer.status, answer.error["param"]) == (400, "max_tokens")
    assert [begin(ANN) for _ in range(2)] == [200, 429]
    assert [begin(BOB) for _ in range(4)] == [200, 200, 200, 429]


def test_metrics_are_for_administrators(w: World) -> None:
    for who, status in ((ANN, 403), (BOB, 403), (CAROL, 200), ({}, 401)):
        assert ask(w.port, "/metrics", headers=who).status == status
    for key, status in ((KEYS["BOB"], 403), (KEYS["CAROL"], 200)):
        cookie = ask(w.port, "/v1/session", {"key": key}).headers["set-cookie"].partition(";")[0]
        assert ask(w.port, "/metrics", headers={"Cookie": cookie}).status == status


def test_without_keys_metrics_are_there_as_before(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        assert ask(w.port, "/metrics").status == 200


def test_sighup_renews_rights_without_ending_streams(tmp_path: Path) -> None:
    with world(tmp_path, CONFIG, **KEYS) as w:
        reader = w.post("native", w.plan(HELD), ANN, model="test-model")
        reader.until(b"abc")
        config = CONFIG.replace('models = ["test-*", "tape/st?ry"]', 'models = ["tape/*"]')
        config = config.replace("admin = true, ", "").replace("concurrent_streams = 1", "concurrent_streams = 2")  # fmt: skip
        (tmp_path / "headwater.toml").write_text(config)
        w.served.process.send_signal(signal.SIGHUP)
        eventually(lambda: "test-model" not in models(w, ANN), "the new rights", within_s=BOUND_S)
        assert ask(w.port, "/metrics", headers=CAROL).status == 403
        body = body_of("native", "hi", model="test-model")
        assert ask(w.port, PATHS["native"], body, ANN).status == 404
        # The stream that runs is still counted: one more, and no third.
        story = {"model": "tape/story?speed=0.01"}
        second = w.post("native", "hi", ANN, **story)
        assert second.head.status == 200
        assert ask(w.port, PATHS["native"], body_of("native", "hi", **story), ANN).status == 429
        for each in (reader, second):
            path = f"/v1/streams/{each.stream}"
            assert ask(w.port, path, headers=ANN, method="DELETE").status == 204
            each.rest()
