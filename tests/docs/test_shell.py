"""The commands in the documentation: those that exist, with options that they have."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import click
import pytest

from headwater.cli import group
from headwater.settings import document
from headwater.testing import MODELS, FaultyUpstream, chat
from tests.docs.blocks import ROOT
from tests.docs.commands import Line, lines
from tests.helpers.servers import Server, serve
from tests.server.serving import ask

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKED = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE)
#: Of the readers' own projects, which nothing here installs.
THEIRS = {"celery"}
NPM = {
    name
    for path in ("js/package.json", "js/client/package.json", "tests/system/clients/package.json")
    for kind in ("dependencies", "devDependencies")
    for name in json.loads((ROOT / path).read_text()).get(kind, ())
} | {"@headwater/client"}


def curl(line: Line) -> argparse.Namespace:
    """What is asked with curl, by the few options that the documentation uses."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("-N", action="store_true")
    parser.add_argument("-i", action="store_true")
    parser.add_argument("-X")
    parser.add_argument("-d", "--json", dest="d")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("url")
    return parser.parse_args(line.words[1:])


def ours(asked: argparse.Namespace) -> bool:
    """Whether an endpoint of ours is asked: an app has them below its prefix."""
    path: str = urlsplit(asked.url).path.removeprefix("/ai")
    return path == "/stream" or path.startswith("/v1/")


def check_headwater(line: Line) -> None:
    command: click.Command = group
    context = click.Context(group, info_name="headwater")
    arguments = list(line.words[1:])
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        inner = command.get_command(context, arguments[0])
        assert inner is not None, f"there is no command {arguments[0]}"
        command = inner
        arguments = arguments[1:]
    command.make_context(line.words[0], arguments)


def check_curl(line: Line) -> None:
    asked = curl(line)
    assert asked.N or asked.X == "DELETE" or not ours(asked), "a stream is read with -N"
    if asked.d is not None:
        json.loads(asked.d)
    for header in asked.H:
        assert re.fullmatch(r"[A-Za-z-]+: .+", header)


def check_pip(line: Line) -> None:
    assert line.words[1] == "install"
    for word in line.words[2:]:
        name, _, extras = word.removesuffix("]").partition("[")
        if name in ("headwater", "../.."):
            known = PROJECT["project"]["optional-dependencies"]
            assert set(extras.split(",")) - {""} <= set(known)
        elif name.startswith("./"):
            assert (ROOT / name / "pyproject.toml").exists()
        else:
            assert name in {*LOCKED, *THEIRS}


def check_npm(line: Line) -> None:
    if line.words[1] == "install":
        assert set(line.words[2:]) <= NPM


def check_make(line: Line) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in line.words[1:] if "=" not in word} <= set(targets)


def check_python(line: Line) -> None:
    if line.words[1] == "-m" and line.words[2] != "http.server":
        path = ROOT / line.words[2].replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
    elif line.words[1] != "-m" and "/" in line.words[1]:
        assert (ROOT / line.words[1]).exists()


def check_server(line: Line) -> None:
    """A host's own command: `module:object` is what it serves."""
    assert any(re.fullmatch(r"[a-z_.]+:[a-z_]+", word) for word in line.words[1:])


def check_nothing(line: Line) -> None:
    """A word of the shell, or a program whose options are not ours to check."""


CHECKS: dict[str, Callable[[Line], None]] = {
    "headwater": check_headwater,
    "curl": check_curl,
    "pip": check_pip,
    "npm": check_npm,
    "make": check_make,
    "python": check_python,
    ".venv/bin/python": check_python,
    "gunicorn": check_server,
    "uvicorn": check_server,
    "waitress-serve": check_server,
    "flask": check_nothing,
    "celery": check_nothing,
    "nginx": check_nothing,
    "node": check_nothing,
    "npx": check_nothing,
    "export": check_nothing,
    "cd": check_nothing,
}


def test_there_are_commands_to_check() -> None:
    assert {line.words[0] for line in lines() if line.words} >= {"headwater", "curl", "make", "pip"}


@pytest.mark.parametrize("line", lines(), ids=repr)
def test_a_command_and_its_options_exist(line: Line) -> None:
    known = {f"HEADWATER_{row.section}__{row.key}".upper().replace(".", "__") for row in document()}
    names = {variable.partition("=")[0] for variable in (*line.variables, *line.words)}
    assert {name for name in names if re.match(r"HEADWATER_[A-Z]+__", name)} <= known
    if line.words:
        program = line.words[0]
        if program.startswith("./"):
            assert (ROOT / line.where.rpartition("/")[0] / program).exists()
        else:
            assert program in CHECKS, f"no test knows {program}"
            CHECKS[program](line)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    answer = chat([f"word {number} " for number in range(60)])
    with (
        FaultyUpstream(lambda asked: MODELS if asked.method == "GET" else answer) as upstream,
        serve("--upstream", upstream.url, cwd=tmp_path_factory.mktemp("curl")) as running,
    ):
        yield running


@pytest.mark.system
@pytest.mark.parametrize(
    "line", [ln for ln in lines() if ln.words[:1] == ("curl",) and ours(curl(ln))], ids=repr
)
def test_what_is_asked_with_curl_is_answered(line: Line, server: Server) -> None:
    """Against a server of ours: an app's own routes for streams are the same below its prefix."""
    begun = ask(server.port, "/stream", {"prompt": "a stream to come back to"})
    words = list(line.words)
    url = urlsplit(curl(line).url)
    assert url.netloc == "127.0.0.1:8000"
    path = url.path.removeprefix("/ai").replace("ID", begun.headers["headwater-stream"])
    query = f"?{url.query.replace('captions', 'plain')}" if url.query else ""
    words[words.index(curl(line).url)] = f"{server.url}{path}{query}"
    asked = subprocess.run(
        [*words, "--silent", "--show-error", "--fail-with-body"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (asked.returncode, asked.stderr) == (0, ""), asked.stdout
    assert curl(line).X == "DELETE" or asked.stdout
