from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headwater.cli import COMMANDS
from headwater.testing import FaultyUpstream as Upstream
from headwater.testing import chat, reply
from tests.helpers.processes import HEADWATER, environment, headwater_serve

pytestmark = pytest.mark.system


def run(
    *arguments: str, cwd: Path, stdin: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HEADWATER, *arguments],
        cwd=cwd,
        env=environment(**environ),
        input=stdin,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("command", [*([name] for name in COMMANDS), ["models", "pull"], []])
def test_help_shows_an_example(command: list[str], tmp_path: Path) -> None:
    done = run(*command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert " ".join(["Example: headwater", *command]) in " ".join(done.stdout.split())
    assert done.stderr == ""


def test_help_names_every_command(tmp_path: Path) -> None:
    help_text = run("--help", cwd=tmp_path).stdout
    assert [name for name in COMMANDS if f"  {name} " not in help_text] == []
    nothing = run(cwd=tmp_path)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "Commands:" in nothing.stderr


def test_version(tmp_path: Path) -> None:
    from importlib.metadata import version

    assert run("--version", cwd=tmp_path).stdout == f"headwater {version('headwater')}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["serve", "--help"],
        ["proxy-config", "nginx"],
        ["ask", "--help"],
        ["record", "--help"],
        ["replay", "--help"],
        ["doctor", "http://127.0.0.1:1"],
        ["compare", "--help"],
        ["tail", "--help"],
        ["stop", "--help"],
    ],
)
def test_commands_import_only_what_they_need(arguments: list[str]) -> None:
    code = f"""
import sys
from headwater.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
heavy = ("starlette", "uvicorn", "uvloop", "rich", "httptools", "headwater.api")
print("imported:", [name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "imported: []"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["srve"], 2, "No such command 'srve'"),
        (["serve", "--prt", "1"], 2, "Did you mean '--port'?"),
        (["serve", "--port", "x"], 2, "'x' is not a valid integer"),
        (["serve", "--port", "65536"], 2, "--port: must be an integer from 0 to 65535, not 65536"),
        (["serve", "--upstream", "h/v1"], 2, "--upstream: must be an http:// or https:// URL"),
        (["serve", "--store", "x"], 2, "--store: must be a URL such as memory://"),
        (["serve", "--config", "no.toml"], 2, "no.toml: no such configuration file"),
        (["serve", "--config", "bad.toml"], 2, 'bad.toml:2: unknown key "prt" in [server]'),
        (["serve", "--host", "0.0.0.0"], 2, "refusing to listen on 0.0.0.0 without keys"),
        (["serve", "--workers", "2"], 2, "memory:// cannot be shared by 2 workers"),
        (["serve", "--host", "192.0.2.1", "--config", "keys.toml"], 1, "listen on 192.0.2.1"),
        (["ask"], 2, "Nothing to ask"),
        (["ask", "hi", "--server", "localhost:8000"], 2, "--server must be a URL such as"),
        (["ask", "hi", "--server", "http://127.0.0.1:1"], 1, "cannot reach 127.0.0.1:1: "),
        (["ask", "hi", "--server", "http://127.0.0.1:1"], 1, "`headwater serve` starts a server"),
        (["ask", "hi", "--model", "no-such-model"], 1, "There is no model 'no-such-model'"),
        (["models", "pul"], 2, "Did you mean 'pull'?"),
        (["models", "pull", "nope"], 2, "there is no embedded model 'nope'"),
        (["proxy-config", "squid"], 2, "'squid' is not"),
        (["proxy-config", "caddy", "--listen", "localhost"], 2, "--listen is no name or address"),
        (["doctor", "localhost:8000"], 2, "URL must be one such as http://127.0.0.1:8000"),
        (["doctor", "http://127.0.0.1:1", "--idle", "5"], 2, "--idle"),
        (["doctor", "http://127.0.0.1:1"], 2, "cannot ask http://127.0.0.1:1: Connection refused"),
        (["proxy-config", "nginx", "--path", "/a;b"], 2, "--path must be a path such as /ai/"),
        (["proxy-config", "nginx", "--server-name", "a b"], 2, "--server-name is no name"),
        (["proxy-config", "nginx", "--listen", "80;"], 2, "--listen is no name or address"),
        (["proxy-config", "nginx", "--upstream", "http://a;b"], 2, "--upstream must be a URL"),
        (["proxy-config", "nginx", "--upstream", "http://u@h"], 2, "--upstream must be a URL"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_and_a_status(
    arguments: list[str], status: int, message: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.toml").write_text("[server]\nprt = 1\n")
    (tmp_path / "keys.toml").write_text(f'[auth.keys]\na = "sha256:{"0" * 64}"\n')
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_a_wrong_file_here_is_an_error_of_every_command_that_reads_it(tmp_path: Path) -> None:
    (tmp_path / "headwater.toml").write_text("[server]\nprt = 1\n")
    for arguments in (["serve"], ["ask", "hi"], ["models"]):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("Error: headwater.toml:2: ")


def test_a_key_that_is_refused_is_named_by_its_variable(tmp_path: Path) -> None:
    with Upstream(reply(401, {"error": {"message": "Incorrect API key provided"}})) as upstream:
        asked = run(
            *("ask", "hi", "--model", "mine/m"),
            cwd=tmp_path,
            HEADWATER_PROVIDERS__MINE__BASE_URL=upstream.url,
            HEADWATER_PROVIDERS__MINE__API_KEY_ENV="MINE_KEY",
            MINE_KEY="sk-of-somebody-else",
        )
    said = "Error: mine refused the key it was sent (HTTP 401). It is the one in MINE_KEY.\n"
    assert (asked.returncode, asked.stderr) == (1, said)


def test_models_are_listed_ready_ones_first(tmp_path: Path) -> None:
    """In 80 columns, a provider's own list included; and only what was asked for."""
    with Upstream(chat([])) as upstream:

        def listed(*options: str) -> list[str]:
            environ = {
                "HEADWATER_SERVER__UPSTREAM": upstream.url,
                "HEADWATER_PROVIDERS__OPENAI__BASE_URL": upstream.url,
                "HEADWATER_PROVIDERS__OLLAMA__BASE_URL": upstream.url,
                "OPENAI_API_KEY": "k",
            }
            done = run("models", *options, cwd=tmp_path, **environ)
            assert done.returncode == 0, done.stderr
            return done.stdout.splitlines()

        lines = listed()
        ready, missing = lines.index("openai: ready"), lines.index("deepseek: set DEEPSEEK_API_KEY")
        assert ready < missing
        assert "  openai/test-model" in lines[ready:missing]
        assert lines[lines.index("upstream: ready") + 1] == "  test-model"
        [claude] = [line for line in lines if "claude-haiku-4-5" in line]
        assert claude.split() == [
            "anthropic/claude-haiku-4-5-20251001",
            "200k",
            "tools,",
            "images,",
            "reasoning",
        ]
        assert max(map(len, lines)) <= 80
        assert all(line.endswith(": ready") for line in listed("--available") if line[:1].strip())
        heads = [line for line in listed("--provider", "mistral") if line[:1].strip()]
        assert heads == ["mistral: set MISTRAL_API_KEY"]
    done = run(
        "models",
        "--provider",
        "mistrl",
        cwd=tmp_path,
        HEADWATER_PROVIDERS__OLLAMA__BASE_URL="http://127.0.0.1:1",
    )
    assert done.returncode == 2
    assert "'mistrl' has no models; use one of anthropic, " in done.stderr


def test_serve_says_where_it_is_and_what_it_serves(tmp_path: Path) -> None:
    from tests.helpers.arrivals import status

    with Upstream(chat(["a"])) as upstream:
        with headwater_serve("--upstream", upstream.url, cwd=tmp_path) as port:
            assert status(port, "/healthz") == 200
            busy = run("serve", "--port", str(port), cwd=tmp_path)
        assert busy.returncode == 1
        said = f"Error: cannot listen on 127.0.0.1:{port}: something else listens there: stop it, "
        assert busy.stderr == f"{said}or take another --port\n"
