"""A package of somebody else's, installed as any other: its wire, its provider, its store."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.testing import Answer, FaultyUpstream, Gate, Request, reply
from tests.helpers.arrivals import request
from tests.helpers.processes import HEADWATER, environment
from tests.server.serving import Reader, Served, ask, data_of, frames, ids, serving

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "plugin"
WORDS = ["Meine ", "Damen ", "und ", "Herren 🎬"]
BROKEN = {
    "headwater.wires": {
        "missing": "no_such_module:WIRE",
        "raises": "broken_plugin:RAISES",
        "leaves": "broken_leaving:WIRE",
        "lacks": "broken_plugin:LACKS",
        "misnamed": "broken_plugin:MISNAMED",
        "native": "broken_plugin:LACKS",
        "late": "broken_plugin:LATE",
    },
    "headwater.dialects": {"nothing": "broken_plugin:NOTHING"},
    "headwater.stores": {"gone": "broken_plugin:gone"},
}
BROKEN_PLUGIN = """
from headwater_captions.wire import CaptionsFold, CaptionsWire
from headwater.events import TextDelta

LACKS, NOTHING, MISNAMED = object(), 7, CaptionsWire()

class Late(CaptionsWire):
    name = "late"
    def fold(self, options):
        return Raising()

class Raising(CaptionsFold):
    def step(self, event, payload, id_line):
        if isinstance(event, TextDelta) and self._said > 10:
            raise RuntimeError("in the middle")
        return super().step(event, payload, id_line)

LATE = Late()

def __getattr__(name):
    raise RuntimeError(f"there is no {name} today\\nsecret detail")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example installed by pip, and beside it a package that is broken."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run(
        [*pip, "--no-build-isolation", "--target", folder, EXAMPLE],
        check=True,
        timeout=100,
        env=environment(PIP_DISABLE_PIP_VERSION_CHECK="1"),
    )
    (folder / "broken_plugin.py").write_text(BROKEN_PLUGIN)
    (folder / "broken_leaving.py").write_text("raise SystemExit(3)")
    info = folder / "broken_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    groups = (f"[{g}]\n" + "".join(f"{n} = {v}\n" for n, v in e.items()) for g, e in BROKEN.items())
    (info / "entry_points.txt").write_text("\n".join(groups))
    return folder


class Studio:
    """The API that the example's provider speaks; words come when they are let go."""

    def __init__(self) -> None:
        self.gate = Gate()

    def answer(self, asked: Request) -> Answer:
        if asked.json["script"] == "refused":
            return reply(422, {"error": {"message": "no such voice"}})
        lines = [json.dumps({"word": word}).encode() + b"\n" for word in WORDS]
        return Answer([*lines[:2], self.gate, *lines[2:], b'{"over": true}\n'])


@pytest.fixture(scope="module")
def studio() -> Iterator[tuple[Studio, FaultyUpstream]]:
    studio = Studio()
    with FaultyUpstream(studio.answer) as upstream:
        yield studio, upstream


@pytest.fixture(scope="module")
def served(
    site: Path, studio: tuple[Studio, FaultyUpstream], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    config = (EXAMPLE / "headwater.toml").read_text()
    config = config.replace("http://127.0.0.1:9000", studio[1].url.removesuffix("/v1"))
    config += f'[providers.broken]\nbase_url = "{studio[1].url}"\ndialect = "nothing"\n'
    environ = {"PYTHONPATH": str(site), "STUDIO_API_KEY": "sk-studio"}
    cwd = tmp_path_factory.mktemp("plugins")
    with serving(cwd=cwd, config=config, environ=environ) as served:
        yield served


def post(served: Served, prompt: str = "hi") -> Reader:
    body = {"prompt": prompt, "model": "studio/calm"}
    return Reader(request(served.port, "/v1/streams", body, {}, timeout_s=20))


def test_wire_provider_and_store_of_a_package(
    served: Served, studio: tuple[Studio, FaultyUpstream]
) -> None:
    """Live and replayed, the wire is resumed byte for byte from every position of any wire."""
    native = post(served)
    path = f"/v1/streams/{native.stream}?wire=captions"
    live = Reader(request(served.port, path, None, {}, timeout_s=20))
    live.until(b"Damen ")
    studio[0].gate.set()
    uncut = live.rest()
    said = [json.loads(data_of(frame)) for frame in frames(uncut)]
    assert said == [
        {"at": 0, "text": "Meine "},
        {"at": 6, "text": "Damen "},
        {"at": 12, "text": "und "},
        {"at": 16, "text": "Herren 🎬"},
        {"at": 24, "end": "stop"},
    ]
    assert ask(served.port, path).body == uncut
    for position in ids(native.rest())[:-1]:
        rest = ask(served.port, path, headers={"Last-Event-ID": position}).body
        after = [frame for frame in frames(uncut) if ids(frame)[0].split("-")[1] > position[2:]]
        assert rest == b"".join(after), position
    [asked] = studio[1].posts
    assert asked.headers["authorization"] == "Bearer sk-studio"
    assert asked.json == {"script": "hi", "voice": "calm"}


def test_what_a_package_s_provider_refuses_and_lacks(served: Served) -> None:
    def answer(**members: Any) -> Any:
        body = {"messages": [{"role": "user", "content": "refused"}], "model": "studio/calm"}
        return ask(served.port, "/v1/chat/completions", body | members)

    assert (answer().status, answer().error["code"]) == (400, "invalid_request")
    assert "no such voice" in answer().error["message"]
    lacking = answer(seed=7).error
    assert lacking["param"] == "seed"
    assert "The teleprompter" in lacking["message"]


def test_what_is_broken_is_told_and_takes_nothing_with_it(served: Served) -> None:
    for name in ("missing", "raises", "leaves", "lacks", "misnamed"):
        line = served.line(rf"'{name}' of the package broken-plugin cannot be used .*")[0]
        assert "secret detail" not in line
    served.line(r"'gone' of the package broken-plugin cannot be used")
    served.line(r"'nothing' of the package .* must be called")
    stream = post(served)
    assert stream.rest().count(b"text-delta") == len(WORDS)
    for name in ("missing", "raises", "lacks", "misnamed", "unheard"):
        error = ask(served.port, f"/v1/streams/{stream.stream}?wire={name}").error
        assert (error["param"], error["code"]) == ("wire", "invalid_request")
        assert "captions" in error["message"]
        assert "missing," not in error["message"]
    # A name of ours stays ours.
    assert ask(served.port, f"/v1/streams/{stream.stream}?wire=native").body == stream.body
    error = ask(served.port, "/stream", {"prompt": "hi", "model": "broken/x"}).error
    assert "'nothing' of the package" in error["message"]


def test_a_wire_that_raises_cuts_its_own_readers_alone(
    site: Path, tmp_path: Path, studio: tuple[Studio, FaultyUpstream]
) -> None:
    with FaultyUpstream((own := Studio()).answer) as upstream:
        config = f'[providers.studio]\nbase_url = "{upstream.url}"\ndialect = "teleprompter"\n'
        with serving(cwd=tmp_path, config=config, environ={"PYTHONPATH": str(site)}) as served:
            native = post(served)
            late = Reader(
                request(
                    served.port, f"/v1/streams/{native.stream}?wire=late", None, {}, timeout_s=20
                )
            )
            late.until(b"Damen ")
            own.gate.set()
            assert native.rest().count(b"text-delta") == len(WORDS)
            with pytest.raises((AssertionError, ConnectionError)):
                late.until(b'"end"')
            # As it reads live, or while it catches up.
            served.line(f"the wire late failed|stream {native.stream} cannot be replayed")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('[store]\nurl = "gone://"\n', "'gone' of the package broken-plugin cannot be used"),
        ('[store]\nurl = "nowhere://"\n', "Unknown store scheme 'nowhere'. Use one of memory, sqlite, redis, rediss, unix, scratch"),
        ('[providers.x]\nbase_url = "http://h"\ndialect = "telepromter"\n', "headwater.toml:3: \"dialect\" in [providers.x] must be one of openai, responses, anthropic, gemini, ollama, tape, nothing, teleprompter"),
    ],
)  # fmt: skip
def test_a_setting_that_names_what_is_not_there(
    site: Path, tmp_path: Path, config: str, words: str
) -> None:
    (tmp_path / "headwater.toml").write_text(config)
    done = subprocess.run(
        [HEADWATER, "serve", "--port", "0"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(site)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_docs_show_these_very_files() -> None:
    text = (ROOT / "docs" / "extending.md").read_text()
    blocks = set(re.findall(r"```(?:toml|python)[^\n]*\n(.*?)```", text, re.DOTALL))
    files = [
        EXAMPLE / "pyproject.toml",
        EXAMPLE / "headwater.toml",
        ROOT / "examples/provider.toml",
    ]
    files += [
        f for f in (EXAMPLE / "src/headwater_captions").glob("*.py") if f.name != "__init__.py"
    ]
    assert blocks == {file.read_text() for file in files}


def test_a_provider_of_six_lines(tmp_path: Path) -> None:
    config = (ROOT / "examples" / "provider.toml").read_text()
    assert len([line for line in config.splitlines() if line]) <= 6
    with FaultyUpstream() as upstream:
        config = config.replace("https://llm.example.com/v1", upstream.url)
        with serving(cwd=tmp_path, config=config, environ={"MINE_API_KEY": "sk-mine"}) as served:
            for model in ("house", "mine/large-1"):
                answer = ask(served.port, "/stream", {"prompt": "hi", "model": model})
                assert b'"token"' in answer.body
        assert [post.json["model"] for post in upstream.posts] == ["large-1", "large-1"]
        assert upstream.posts[0].headers["authorization"] == "Bearer sk-mine"
