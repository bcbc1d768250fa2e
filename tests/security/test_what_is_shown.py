"""Text from outside, in logs, on terminals and in errors: no keys, no prompts, nothing obeyed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.observe.shown import CONTROL, keep_secret, printable, printable_json, redact
from headwater.testing import Answer, FaultyUpstream, Request, chat, reply
from tests.helpers.processes import HEADWATER, environment
from tests.server.serving import Served, ask, serving

pytestmark = pytest.mark.system

CLI = Path(__file__).parents[2] / "src" / "headwater" / "cli"
#: A title, a colour, the clipboard, C1's CSI, an overwritten line, a line of its own, a turned text.
EVIL = "\x1b]0;t\x07\x1b[31mred\x1b]52;c;aGk=\x07\x9b2J\rover\u2028line\u202eturned\x08\x00"
KEY = "aB/cD+eF/0123456789-zyxwvutsr=="
PROMPT = "the secret plan of the prompt"

texts = st.text() | st.text(alphabet=EVIL + "\n\t ab")


@given(texts)
def test_nothing_that_is_printed_is_obeyed(text: str) -> None:
    assert not CONTROL.search(printable(text))
    assert "\n" not in printable(text)
    assert printable(text, lines=True).count("\n") == text.count("\n")
    assert printable(printable(text)) == printable(text)


@given(st.lists(texts))
def test_json_that_is_printed_means_the_same(value: list[str]) -> None:
    text = printable_json(json.dumps(value, ensure_ascii=False))
    assert not CONTROL.search(text)
    assert json.loads(text) == value


@given(st.text(alphabet='ab/\\"é', min_size=6), st.text(max_size=5), st.text(max_size=5))
def test_a_secret_is_in_no_text_whatever_quotes_it(secret: str, before: str, after: str) -> None:
    keep_secret(secret)
    for form in (secret, json.dumps(secret), json.dumps(secret).replace("/", "\\/")):
        assert secret not in redact(before + form + after)
        assert json.dumps(secret)[1:-1] not in redact(before + form + after)


def test_commands_print_in_one_place() -> None:
    """Whatever else prints would print what it is given."""
    for path in CLI.rglob("*.py"):
        if path.name != "terminal.py" and path.parent.name != "proxy_config":
            assert not re.search(r"click\.s?echo|\bprint\(", path.read_text()), path


# commands, with a provider or a server that says evil things


def evil(asked: Request) -> Answer:
    if asked.method == "GET":
        return reply(200, {"data": [{"id": f"m{EVIL}"}], "default": f"m{EVIL}"})
    if "stream" in asked.body.decode() and "fail" not in asked.body.decode():
        return chat([f"a{EVIL}b"])
    return reply(400, {"error": {"message": f"no{EVIL}", "type": f"t{EVIL}", "code": f"c{EVIL}"}})


COMMANDS = {
    "ask": ["ask", "fail"],
    "ask --json": ["ask", "--json", "hi"],
    "ask --server": ["ask", "fail", "--server", "URL"],
    "tail": ["tail", "0" * 32, "--server", "URL"],
    "stop": ["stop", "0" * 32, "--server", "URL"],
    "models": ["models"],
    "compare": ["compare", "fail", "--repeat", "1"],
    "compare --json": ["compare", "fail", "--repeat", "1", "--json"],
    "doctor": ["doctor", "URL", "--idle", "1"],
    "doctor --json": ["doctor", "URL", "--idle", "1", "--json"],
    "a wrong position": ["tail", "0" * 32, "--after", f"x{EVIL}".replace("\x00", "")],
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultyUpstream]:
    with FaultyUpstream(evil) as running:
        yield running


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_obey_nothing_that_comes_from_outside(
    upstream: FaultyUpstream, tmp_path: Path, name: str
) -> None:
    server = upstream.url.removesuffix("/v1")
    command = [each.replace("URL", server) for each in COMMANDS[name]]
    done = subprocess.run(
        [HEADWATER, *command],
        cwd=tmp_path,
        env=environment(HEADWATER_SERVER__UPSTREAM=upstream.url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=100,
        check=False,
    )
    shown = (done.stdout + done.stderr).decode()
    assert shown.strip()
    assert not CONTROL.search(shown), shown


# logs


@pytest.fixture(scope="module", params=["text", "json"])
def logged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, str]]:
    """A server whose provider quotes the key and the prompt; and the form of its log."""

    def answer(asked: Request) -> Answer:
        if asked.method == "GET":
            return reply(200, {"data": [{"id": "test-model"}]})
        quoted = asked.headers["authorization"] + " " + asked.body.decode()
        raw = json.dumps({"error": {"message": "x" * 470 + " " + quoted}}).replace("/", "\\/")
        return Answer([raw.encode()], 422, (("Content-Type", "application/json"),), "length")

    config = f'[server]\nlog_level = "info"\nlog_format = "{request.param}"\n'
    with (
        FaultyUpstream(answer) as upstream,
        serving(
            "--upstream", upstream.url,
            cwd=tmp_path_factory.mktemp(request.param), config=config,
            environ={"HEADWATER_UPSTREAM_API_KEY": KEY},
        ) as served,
    ):  # fmt: skip
        yield served, request.param


def fields_of(line: str, form: str) -> dict[str, Any]:
    """What a line of the log says, as a reader of it takes it apart."""
    if form == "json":
        fields: dict[str, Any] = json.loads(line)
        return fields
    at, level, logger, rest = line.split(" ", 3)
    quoted = r'"(?:[^"\\]|\\.)*"'
    pairs = re.findall(rf'(?:^| )([a-z_]+)=({quoted}|[^\s"]+)', re.sub(rf"^{quoted}", "", rest))
    return {"time": at, "level": level, "logger": logger} | {
        key: json.loads(value) if value.startswith('"') else value for key, value in pairs
    }


FORGED = (
    "m outcome=done request_id=forged",
    'm" outcome="done" x="',
    "m\n2026-01-01T00:00:00.000+00:00 error headwater.server all is lost request_id=forged",
    f"m{EVIL}",
    "m\\",
)


@pytest.mark.parametrize("model", FORGED)
def test_a_model_s_name_forges_no_field_and_no_line(logged: tuple[Served, str], model: str) -> None:
    served, form = logged
    answer = ask(served.port, "/v1/streams", {"prompt": PROMPT, "model": f"upstream/{model}"})
    asked = answer.headers["x-request-id"]
    served.line(rf"{asked}.*|stream {answer.headers.get('headwater-stream', 'none')}")
    lines = [line for line in served.output.splitlines() if asked in line and "outcome" in line]
    if not lines:
        served.line(rf"outcome.*{asked}|{asked}.*outcome")
        lines = [line for line in served.output.splitlines() if asked in line and "outcome" in line]
    for line in lines:
        fields = fields_of(line, form)
        assert fields["outcome"] != "done"
        assert fields["request_id"] == asked
    for line in served.output.splitlines():
        assert not line.startswith("2026-01-01")
        assert not CONTROL.search(line)


def test_a_key_and_a_prompt_are_in_no_log_and_no_error(logged: tuple[Served, str]) -> None:
    served, _ = logged
    answer = ask(
        served.port, "/v1/chat/completions", {"messages": [{"role": "user", "content": PROMPT}]}
    )
    assert answer.status == 400
    for piece in (KEY[:8], KEY[-8:], KEY.replace("/", "\\/")[:8]):
        assert piece.encode() not in answer.body
        assert piece not in served.output
    assert PROMPT not in served.output


def test_each_line_has_the_id_of_its_own_request(logged: tuple[Served, str]) -> None:
    """Connections to the provider are kept, and serve one request after another."""
    served, form = logged
    before = len(served.output.splitlines())

    def failed(number: int) -> None:
        headers = {"X-Request-Id": f"mine-{number}"}
        ask(served.port, "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "hi"}], "model": f"upstream/model-{number}"},
            headers)  # fmt: skip

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(failed, range(40)))
    served.line("mine-39")
    seen = set()
    for line in served.output.splitlines()[before:]:
        fields = fields_of(line, form)
        assert fields.get("request_id", "").startswith("mine-"), line
        if "model" in fields:
            assert fields["model"].rpartition("-")[2] == fields["request_id"].removeprefix("mine-")
            seen.add(fields["request_id"])
    assert len(seen) == 40
