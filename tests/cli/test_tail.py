"""`headwater tail` and `headwater stop`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.testing import Fault, FaultyProxy
from tests.cli.test_tapes import STORY, TEXT, begin, headwater
from tests.helpers.processes import HEADWATER, environment, headwater_serve, stopped_at_the_end
from tests.server.serving import ask

pytestmark = pytest.mark.system

KEY = "a-key-of-ours"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with headwater_serve(cwd=tmp_path_factory.mktemp("served")) as port:
        yield port


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def test_a_stream_is_followed_to_its_end(server: int, tmp_path: Path) -> None:
    stream = begin(server, "tape/story?speed=20")
    done = headwater("tail", stream, "--server", url(server), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, TEXT)
    # The server's times: ours would be those of reading.
    timing = ask(server, f"/v1/streams/{stream}", headers={"Accept": "application/json"}).json[
        "timing"
    ]
    first, total = round(timing["first_token"]), timing["total"]
    assert re.fullmatch(rf"first token {first} ms · total [\d.]+ m?s · \d+ tokens/s\n", done.stderr)
    assert total > first


def test_events_from_a_position_as_json(server: int, tmp_path: Path) -> None:
    stream = begin(server, "tape/story?speed=max")
    where = ["--server", url(server), "--json"]
    every = headwater("tail", stream, *where, cwd=tmp_path)
    events = [json.loads(line) for line in every.stdout.splitlines()]
    assert (every.returncode, len(events)) == (0, len(STORY) + 1)
    later = headwater("tail", stream, *where, "--after", "1-20", cwd=tmp_path)
    assert (later.returncode, later.stdout.splitlines()) == (0, every.stdout.splitlines()[20:])
    end = headwater("tail", stream, *where, "--after", f"1-{len(events)}", cwd=tmp_path)
    assert (end.returncode, end.stdout) == (0, "")
    assert end.stderr == f"Nothing follows 1-{len(events)}: the stream ended there.\n"


def test_a_cut_before_anything_came_does_not_begin_anew(server: int, tmp_path: Path) -> None:
    """Cut inside the head and inside the first event: what follows the position, and no more."""
    stream = begin(server, "tape/story?speed=max")
    every = headwater("tail", stream, "--server", url(server), "--json", cwd=tmp_path)
    with FaultyProxy(server, [Fault(after=520), Fault(after=2000)]) as proxy:
        arguments = ["tail", stream, "--server", url(proxy.port), "--json", "--after", "1-20"]
        done = headwater(*arguments, cwd=tmp_path)
        assert len(proxy.links) == 3
    assert (done.returncode, done.stdout.splitlines()) == (0, every.stdout.splitlines()[20:])


def test_what_stands_behind_the_path_of_the_server_s_url_is_ignored(
    server: int, tmp_path: Path
) -> None:
    stream = begin(server, "tape/story?speed=max")
    done = headwater("tail", stream, "--server", f"{url(server)}/?x=1#y", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, TEXT)


def test_a_failure_is_told(server: int, tmp_path: Path) -> None:
    stream = begin(server, "tape/story?speed=max&cut=3")
    for flag in ([], ["--json"]):
        done = headwater("tail", stream, "--server", url(server), *flag, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr == "Error: tape broke off before the end of the answer.\n"


def test_leaving_it_leaves_it_running_and_a_stop_stops_it(server: int, tmp_path: Path) -> None:
    stream = begin(server, "tape/story?speed=0.1")
    process = subprocess.Popen(
        [HEADWATER, "tail", stream, "--server", url(server)],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with stopped_at_the_end(process):
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 100)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    path = f"/v1/streams/{stream}"
    json_state = {"Accept": "application/json"}
    assert ask(server, path, headers=json_state).json["status"] == "running"
    for _ in range(2):  # one that has ended is no error
        done = headwater("stop", stream, "--server", url(server), cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert ask(server, path, headers=json_state).json["status"] == "cancelled"
    followed = headwater("tail", stream, "--server", url(server), cwd=tmp_path)
    assert followed.returncode == 0
    assert followed.stderr.endswith(" · stopped\n")


def test_a_key_is_taken_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "headwater.toml").write_text('[auth.keys]\nann = "env:ANN"\n')
    with headwater_serve(cwd=tmp_path, environ={"ANN": KEY}) as port:
        for command in (["tail", "x"], ["stop", "x"]):
            where = ["--server", url(port)]
            without = headwater(*command, *where, cwd=tmp_path)
            assert (without.returncode, "Send a key" in without.stderr) == (1, True)
            known = headwater(*command, *where, cwd=tmp_path, HEADWATER_API_KEY=KEY)
            assert (known.returncode, known.stderr) == (1, "Error: There is no such stream.\n")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["tail"], 2, "Missing argument 'STREAM'"),
        (["stop"], 2, "Missing argument 'STREAM'"),
        (["tail", "x", "--after", "1\n2"], 2, "--after must be a position such as 1-20"),
        (["tail", "x", "--server", "h:1"], 2, "--server must be a URL such as"),
        (["stop", "x", "--server", "http://127.0.0.1:1"], 1, "cannot reach 127.0.0.1"),
    ],
)
def test_an_error_is_one_line(
    arguments: list[str], status: int, message: str, tmp_path: Path
) -> None:
    done = headwater(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
