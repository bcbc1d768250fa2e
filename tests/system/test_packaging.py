"""What is shipped: a wheel, a source distribution, an image; each made and tried from nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tests.helpers.arrivals import request
from tests.helpers.processes import environment, line_matching, stopped_at_the_end
from tests.server.serving import Reader, ask, data_of, frames

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
IMAGE = "/opt/headwater"
#: Where pip finds packages is a matter of the machine.
PIP = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_", "REQUESTS_"))}


def tried(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run to its end, whatever that is."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment(**PIP),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def run(command: list[str], cwd: Path) -> str:
    """Run to its end; what it printed."""
    done = tried(command, cwd)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source distribution."""
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-d", str(out)], ROOT)
    [wheel], [sdist] = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def clean(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment made by the lines of the Containerfile, with the wheel in it; its programs."""
    context = tmp_path_factory.mktemp("image")
    prefix = context / "opt"
    stage = (ROOT / "Containerfile").read_text().split("\nFROM ")[1]
    for line in re.findall(r"^(?:RUN|COPY) .*$", stage, re.MULTILINE):
        step, *words = line.replace(IMAGE, str(prefix)).split()
        if step == "RUN":
            run([sys.executable if words[0] == "python" else words[0], *words[1:]], context)
            continue
        *sources, to = words
        for source in sources:
            _copy(ROOT / source, context / to)
    pip = [str(prefix / "bin" / "pip"), "install", "--no-deps", "--force-reinstall"]
    run([*pip, str(built[0])], context)
    return prefix / "bin"


def _copy(source: Path, to: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, to)


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as opened:
        [name] = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        return HeaderParser().parsestr(opened.read(name).decode())


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    tracked = run(["git", "ls-files", "src/headwater"], ROOT).splitlines()
    wanted = {name.removeprefix("src/") for name in tracked}
    held = {name for name in contents(built[0]) if ".dist-info/" not in name}
    assert held == wanted
    assert {"headwater/py.typed", "headwater/playground/headwater.js"} <= held


def test_the_wheel_says_what_it_is(built: tuple[Path, Path]) -> None:
    said = metadata(built[0])
    assert said["Requires-Python"] == ">=3.11"
    assert set(said.get_all("Provides-Extra") or ()) == {
        "local",
        "redis",
        "flask",
        "django",
        "otel",
    }
    assert said["License-Expression"] == "Apache-2.0"
    # `pipx run headwater` and `uvx headwater` start the command that has the package's name.
    [entry] = [text for name, text in contents(built[0]).items() if "entry_points" in name]
    assert b"headwater = headwater.cli:main" in entry


def test_the_source_distribution_makes_the_same_wheel(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    with tarfile.open(built[1]) as archive:
        archive.extractall(tmp_path, filter="data")
    [source] = tmp_path.iterdir()
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], source)
    [again] = tmp_path.glob("*.whl")
    assert contents(again) == contents(built[0])


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_a_new_user_streams_from_an_empty_folder(clean: Path, empty: Path) -> None:
    assert run([str(clean / "headwater"), "--version"], empty).split()[-1] == "0.1.0"
    said = run([str(clean / "headwater"), "ask", "--model", "tape/story?speed=max", "Hi"], empty)
    assert len(said.split()) > 100
    run([str(clean / "pip"), "check"], empty)


@pytest.fixture
def port(clean: Path, empty: Path) -> Iterator[int]:
    """A server started by the image's own entry point, on loopback."""
    final = (ROOT / "Containerfile").read_text().split("\nFROM ")[2]
    [[entry]] = [
        json.loads(found) for found in re.findall(r"^ENTRYPOINT (.*)$", final, re.MULTILINE)
    ]
    [arguments] = [json.loads(found) for found in re.findall(r"^CMD (.*)$", final, re.MULTILINE)]
    arguments[arguments.index("0.0.0.0")] = "127.0.0.1"
    process = subprocess.Popen(
        [str(clean / entry), *arguments, "--port", "0"],
        cwd=empty,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with stopped_at_the_end(process):
        yield int(line_matching(process, r"listening on http://[^ ]*:(\d+)", 30)[1])


def test_the_server_of_the_image_streams_and_has_its_page(port: int) -> None:
    assert ask(port, "/readyz").status == 200
    reader = Reader(request(port, "/stream", {"prompt": "Hi", "model": "tape/story?speed=max"}))
    assert data_of(frames(reader.rest())[-1]) == b"[DONE]"
    for path in ("/", "/headwater.js", "/headwater-element.js"):
        assert ask(port, path).status == 200


def test_the_image_refuses_to_stand_open(clean: Path, empty: Path) -> None:
    """Its own command listens beyond loopback, and nobody has set a key."""
    refused = tried([str(clean / "headwater"), "serve", "--host", "0.0.0.0", "--port", "0"], empty)
    assert refused.returncode != 0
    assert "auth.keys" in refused.stderr


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("import headwater.adapters.flask", "flask"),
        ("import headwater.adapters.django", "django"),
        ("from headwater import Headwater; print(Headwater(store='redis://localhost'))", None),
        ("import opentelemetry.trace", None),
    ],
)
def test_what_an_extra_brings_is_named_where_it_is_missing(
    clean: Path, empty: Path, code: str, extra: str | None
) -> None:
    done = tried([str(clean / "python"), "-c", code], empty)
    if extra is None:
        assert done.returncode == 0, done.stderr
    else:
        assert f"pip install 'headwater[{extra}]'" in done.stderr


def test_the_embedded_model_names_its_extra(clean: Path, empty: Path) -> None:
    said = tried([str(clean / "headwater"), "ask", "--model", "local/smollm2-135m", "Hi"], empty)
    assert said.returncode != 0
    assert "headwater[local]" in said.stderr
