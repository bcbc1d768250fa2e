"""README's lines, run exactly as they are printed by the user who started the server: no token."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks
from tests.helpers.processes import HEADWATER, environment, line_matching, stopped_at_the_end
from tests.helpers.users import as_root

pytestmark = pytest.mark.system

# A loopback of its own, where the port that README names is free.
_ALONE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
_OPENAI = """
from openai import OpenAI
client = OpenAI(base_url={base!r}, api_key="none")
model = client.models.list().data[0].id
messages = [{{"role": "user", "content": "Why is the sky blue?"}}]
stream = client.chat.completions.create(model="tape/story?speed=20", messages=messages, stream=True)
print("".join(c.choices[0].delta.content or "" for c in stream if c.choices))
"""
_ANTHROPIC = """
from anthropic import Anthropic
client = Anthropic(base_url={base!r}, api_key="none")
messages = [{{"role": "user", "content": "Why is the sky blue?"}}]
print(client.messages.create(model="tape/story?speed=20", max_tokens=99, messages=messages).content[0].text)
"""


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """`headwater serve` on its own loopback; what runs a command there."""
    environ = environment(
        HEADWATER_SERVER__DEFAULT_MODEL="tape/story?speed=20", PYTHONUNBUFFERED="1"
    )
    process = subprocess.Popen(
        [*_ALONE, HEADWATER, "serve"],
        cwd=tmp_path_factory.mktemp("readme"),
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with stopped_at_the_end(process):
        line_matching(process, r"listening on http://127\.0\.0\.1:8000$", 30)
        yield ["nsenter", f"--net=/proc/{process.pid}/ns/net"]


def run(command: list[str], cwd: Path) -> str:
    ran = subprocess.run(
        command, env=environment(), cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, (command, ran.stderr)
    return ran.stdout


def lines() -> list[str]:
    """The `curl` lines of README and Start that ask your own server."""
    asking = re.compile(r"^(?:\$ )?(curl .*http://127\.0\.0\.1:8000/stream .*)$", re.MULTILINE)
    pages = [block for block in blocks("console", "sh") if block.page in ("README.md", "docs/start.md")]  # fmt: skip
    return [line for block in pages for line in asking.findall(block.text)]


def test_there_are_lines_to_run() -> None:
    assert len(lines()) >= 3


@as_root
@pytest.mark.parametrize("line", lines())
def test_curl_is_answered(inside: list[str], line: str, tmp_path: Path) -> None:
    assert "[DONE]" in run([*inside, "sh", "-c", line], tmp_path)


@as_root
@pytest.mark.parametrize(("client", "script"), [("OpenAI", _OPENAI), ("Anthropic", _ANTHROPIC)])
def test_sdks_are_answered(inside: list[str], client: str, script: str, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    [base] = re.findall(rf'\| {client}\'s SDKs.*\| `base_url="([^"]+)"`', readme)
    code = script.format(base=base)
    assert len(run([*inside, sys.executable, "-c", code], tmp_path)) > 20


@as_root
def test_the_commands_are_answered(inside: list[str], tmp_path: Path) -> None:
    head = run([*inside, "sh", "-c", "curl -sSi http://127.0.0.1:8000/stream -d '{\"prompt\": \"hi\"}'"], tmp_path)  # fmt: skip
    [stream] = re.findall(r"(?i)^headwater-stream: (\w+)", head, re.MULTILINE)
    assert len(run([*inside, HEADWATER, "tail", stream], tmp_path)) > 20
    run([*inside, HEADWATER, "stop", stream], tmp_path)
