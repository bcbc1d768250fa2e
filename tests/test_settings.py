from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import ConfigurationError
from headwater.settings import (
    Endpoint,
    HedgeSettings,
    KeyLimits,
    KeySettings,
    ModelSettings,
    ProviderSettings,
    Settings,
    check_exposure,
    document,
    load,
)
from headwater.settings.values import CHECKS

SHA = "sha256:" + "0a" * 32


def read(
    tmp_path: Path,
    text: str | None = None,
    environ: dict[str, str] | None = None,
    flags: dict[str, object] | None = None,
) -> Settings:
    if text is not None:
        (tmp_path / "headwater.toml").write_text(text, encoding="utf-8")
    return load(flags, environ=environ or {}, cwd=tmp_path)


def get(settings: Settings, dotted: str) -> Any:
    value: Any = settings
    for part in dotted.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


def test_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert settings == Settings()
    expected = {
        "server.host": "127.0.0.1",
        "server.port": 8000,
        "server.workers": 1,
        "server.upstream": None,
        "server.default_model": None,
        "server.heartbeat_s": 15.0,
        "server.drain_s": 30.0,
        "server.max_body_bytes": 10 * 1024 * 1024,
        "server.log_format": "text",
        "server.log_level": "warning",
        "server.log_upstream_errors": False,
        "server.max_streams": 10_000,
        "server.allowed_hosts": (),
        "server.cors_origins": (),
        "store.url": "memory://",
        "store.prefix": "hw",
        "store.ttl_s": 3600.0,
        "store.max_stream_bytes": 16 * 1024 * 1024,
        "store.max_bytes": 256 * 1024 * 1024,
        "store.lease_s": 5.0,
        "timeouts.connect_s": 5.0,
        "timeouts.first_token_s": 60.0,
        "timeouts.idle_s": 60.0,
        "timeouts.comments_s": 300.0,
        "timeouts.total_s": 600.0,
        "server.trusted_proxies": (),
        "auth.keys": {},
        "auth.anonymous": False,
        "limits.requests_per_minute": None,
        "limits.tokens_per_minute": None,
        "limits.concurrent_streams": None,
        "limits.max_output_tokens": None,
        "limits.write_timeout_s": 30.0,
    }
    assert {key: get(settings, key) for key in expected} == expected
    fixed = {f"{row.section}.{row.key}" for row in document() if ".NAME" not in row.section}
    assert fixed == set(expected)


def test_every_setting_has_a_sentence() -> None:
    rows = document()
    assert [r for r in rows if not r.sentence.strip() or not r.type] == []
    assert all(r.sentence.endswith(".") and "\n" not in r.sentence for r in rows)
    assert ("models.NAME.hedge", "after") in {(r.section, r.key) for r in rows}
    assert next(r for r in rows if r.key == "max_bytes").default == '"256 MiB"'


def test_documented_defaults_are_what_a_file_of_them_gives(tmp_path: Path) -> None:
    lines: dict[str, list[str]] = {}
    for row in document():
        if ".NAME" not in row.section and row.default:
            lines.setdefault(row.section, []).append(f"{row.key} = {row.default}")
    text = "\n".join(f"[{s}]\n" + "\n".join(keys) for s, keys in lines.items())
    assert read(tmp_path, text) == Settings()


@pytest.mark.parametrize(
    ("toml", "key", "value"),
    [
        ("[server]\nport = 1", "server.port", 1),
        ("server.port = 1", "server.port", 1),
        ("server = { port = 1 }", "server.port", 1),
        ("[server]\nheartbeat_s = 2", "server.heartbeat_s", 2.0),
        ('[server]\nmax_body_bytes = "16 MiB"', "server.max_body_bytes", 2**24),
        ('[server]\nmax_body_bytes = "16kB"', "server.max_body_bytes", 16_000),
        ('[server]\nmax_body_bytes = "7"', "server.max_body_bytes", 7),
        ("[server]\nmax_body_bytes = 7", "server.max_body_bytes", 7),
        (
            '[server]\nallowed_hosts = ["a.example", "b"]',
            "server.allowed_hosts",
            ("a.example", "b"),
        ),
        (
            '[server]\nupstream = "http://[::1]:81/v1"',
            "server.upstream",
            "http://[::1]:81/v1",
        ),
        (
            f'[auth.keys]\nA = "env:A_KEY"\nb = "{SHA}"',
            "auth.keys",
            {"A": KeySettings("env:A_KEY"), "b": KeySettings(SHA)},
        ),
        (
            f'[auth.keys.a]\nkey = "{SHA}"\nmodels = ["gpt-*"]\nadmin = true',
            "auth.keys.a",
            KeySettings(SHA, ("gpt-*",), None, True),
        ),
        (
            f'[auth.keys]\na = {{ key = "{SHA}", limits = {{ concurrent_streams = 3 }} }}',
            "auth.keys.a.limits",
            KeyLimits(concurrent_streams=3),
        ),
        (
            '[server]\ntrusted_proxies = ["10.0.0.0/8", "::1"]',
            "server.trusted_proxies",
            ("10.0.0.0/8", "::1"),
        ),
        ("[limits]\nmax_output_tokens = 5", "limits.max_output_tokens", 5),
        (
            '[providers.my-vllm]\nbase_url = "http://10.0.0.1/v1"\ncontinues = true',
            "providers.my-vllm",
            ProviderSettings(base_url="http://10.0.0.1/v1", continues=True),
        ),
        (
            '[models."a.b/c"]\nroute = ["x/y/z"]\nhedge = { after = "p90", max_extra = 1 }',
            "models",
            {"a.b/c": ModelSettings(route=("x/y/z",), hedge=HedgeSettings("p90", 1.0))},
        ),
        (
            "[models.m]\nroute = ['a/b']\nhedge = { after = 0.5 }",
            "models",
            {"m": ModelSettings(route=("a/b",), hedge=HedgeSettings("0.500000s"))},
        ),
        ("\ufeff[server]\nport = 1", "server.port", 1),
    ],
)
def test_file(tmp_path: Path, toml: str, key: str, value: object) -> None:
    assert get(read(tmp_path, toml), key) == value
    assert get(read(tmp_path, toml.replace("\n", "\r\n")), key) == value


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("SERVER__PORT", "81", "server.port", 81),
        ("SERVER__PORT", "", "server.port", 8000),
        ("SERVER__HEARTBEAT_S", "2", "server.heartbeat_s", 2.0),
        ("SERVER__HEARTBEAT_S", "2.5", "server.heartbeat_s", 2.5),
        ("SERVER__UPSTREAM", "http://h/v1", "server.upstream", "http://h/v1"),
        ("SERVER__DEFAULT_MODEL", "7", "server.default_model", "7"),
        ("SERVER__MAX_BODY_BYTES", "1 MiB", "server.max_body_bytes", 2**20),
        ("SERVER__ALLOWED_HOSTS", "a, b,", "server.allowed_hosts", ("a", "b")),
        ("SERVER__ALLOWED_HOSTS", '["a", "b"]', "server.allowed_hosts", ("a", "b")),
        ("AUTH__ANONYMOUS", "TRUE", "auth.anonymous", True),
        ("AUTH__ANONYMOUS", "0", "auth.anonymous", False),
        ("AUTH__KEYS__ALICE", "env:X", "auth.keys.alice.key", "env:X"),
        ("AUTH__KEYS", '{"Al": "env:X"}', "auth.keys.Al", KeySettings("env:X")),
        ("PROVIDERS__MYVLLM__BASE_URL", "http://h", "providers.myvllm.base_url", "http://h"),
        ("MODELS__M__ROUTE", "a/b,c/d", "models.m.route", ("a/b", "c/d")),
        ("LIMITS__CONCURRENT_STREAMS", "3", "limits.concurrent_streams", 3),
    ],
)
def test_environment(tmp_path: Path, name: str, text: str, key: str, value: object) -> None:
    assert get(read(tmp_path, environ={f"HEADWATER_{name}": text}), key) == value


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    toml = "[server]\nport = 1\nworkers = 1\ndrain_s = 1\n"
    environ = {"HEADWATER_SERVER__PORT": "2", "HEADWATER_SERVER__DRAIN_S": "2"}
    server = read(tmp_path, toml, environ, {"server.port": 3, "server.drain_s": None}).server
    assert (server.port, server.drain_s, server.workers, server.max_streams) == (3, 2.0, 1, 10_000)


def test_environment_finds_the_name_that_the_file_spells_otherwise(tmp_path: Path) -> None:
    toml = '[providers.my-vllm]\nbase_url = "http://a"\n[models."DeepSeek.v3"]\nroute = ["a/b"]'
    environ = {
        "HEADWATER_PROVIDERS__MY_VLLM__API_KEY_ENV": "K",
        "HEADWATER_MODELS__DEEPSEEK_V3__ROUTE": "c/d",
    }
    settings = read(tmp_path, toml, environ)
    assert settings.providers == {"my-vllm": ProviderSettings("http://a", api_key_env="K")}
    assert settings.models == {"DeepSeek.v3": ModelSettings(("c/d",))}


@pytest.mark.parametrize("name", ["HEADWATER_UPSTREAM_API_KEY", "HEADWATER_API_KEY", "HEADWATER_"])
def test_other_variables_of_ours_are_no_settings(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, environ={name: "x", "SERVER__PORT": "x"}) == Settings()


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (
            '# a comment\n\n[server]\nhost = "::1"\n\n\nporrt = 1',
            'headwater.toml:7: unknown key "porrt" in [server]; did you mean "port"?',
        ),
        ("[sever]\nport = 1", "headwater.toml:1: unknown section [sever]; did you mean [server]?"),
        (
            "\nport = 1",
            'headwater.toml:2: unknown key "port" outside any section;'
            ' did you mean "port" in [server]?',
        ),
        (
            "[server]\nttl_s = 1",
            'headwater.toml:2: unknown key "ttl_s" in [server]; did you mean "ttl_s" in [store]?',
        ),
        (
            "[server]\nzzz = 1",
            'headwater.toml:2: unknown key "zzz" in [server]; did you mean "',
        ),
        (
            "server = {\thost = '::1', prt = 1}",
            'headwater.toml:1: unknown key "prt" in [server]; did you mean "port"?',
        ),
        (
            '[server]\nallowed_hosts = [\n  "porrt = 1", # ]\n]\nserver.x = 1',
            'headwater.toml:5: unknown key "server" in [server]; did you mean "',
        ),
        (
            '[server]\ndefault_model = """\nporrt = 1\n[store]\n"""\n"porrt"=1',
            'headwater.toml:6: unknown key "porrt" in [server]; did you mean "port"?',
        ),
        (
            '[models."a.b"]\nroute=["a/b"]\n[models."a.b".hedge]\naftr="p1"',
            'headwater.toml:4: unknown key "aftr" in [models."a.b".hedge]; did you mean "after"?',
        ),
        (
            '[providers.x]\nbase_ur = "http://h"',
            'headwater.toml:2: unknown key "base_ur" in [providers.x]; did you mean "base_url"?',
        ),
        (
            '[server]\nport = "8000"',
            'headwater.toml:2: "port" in [server] must be an integer from 0 to 65535, not "8000"',
        ),
        ("[server]\nport = 65536", "must be an integer from 0 to 65535, not 65536"),
        ("[server]\nport = true", "must be an integer from 0 to 65535, not true"),
        ("[server]\nport = 1.5", "must be an integer from 0 to 65535, not 1.5"),
        ("[server]\nworkers = 0", "must be an integer from 1 to 1024, not 0"),
        ("[server]\nhost = 1", '"host" in [server] must be a string, not 1'),
        ("[server]\nhost = 2020-01-01", '"host" in [server] must be a string, not a date'),
        ('[server]\nmax_body_bytes = "1 apple"', 'must be bytes such as 1048576 or "16 MiB"'),
        ("[server]\nallowed_hosts = 'a'", "must be a list of strings, not a string"),
        ("[server]\nallowed_hosts = ['http://a']", "must hold host names"),
        ("[server]\ncors_origins = ['*']", "must hold origins such as https://app.example.com"),
        ("[server]\nupstream = 'ftp://h'", "must be an http:// or https:// URL"),
        ("[server]\nupstream = 'http://h:x/v1'", "must be a URL such as"),
        ("[server]\nupstream = 'http://h/v1?a=1'", "without a query"),
        ("[server]\nupstream = 'http://u:secret@h/v1'", "must hold no user or password"),
        ("[store]\nurl = 'redis'", '"url" in [store] must be a URL such as memory://'),
        ("[timeouts]\ntotal_s = 0", "must be a number above 0 and at most"),
        ("[timeouts]\ntotal_s = nan", "must be a number above 0 and at most"),
        ("[timeouts]\ntotal_s = inf", "must be a number above 0 and at most"),
        ("[auth]\nanonymous = 1", "must be true or false, not 1"),
        ("[auth.keys]\nalice = 'secret'", '"key" in [auth.keys.alice] must be "env:VAR"'),
        ("[auth.keys]\nalice = 1", '"auth.keys.alice" must be a table'),
        ("[auth.keys.alice]\nadmin = true", '[auth.keys.alice] lacks "key"'),
        ("[auth.keys.alice]\nkey = 'env:A'\nmodel = ['x']", 'did you mean "models"'),
        ("[auth.keys.alice]\nkey = 'env:A'\nmodels = ['']", "must hold names of models"),
        ("[server]\ntrusted_proxies = ['10.0.0.1/8']", "must hold addresses or networks"),
        ("[auth.keys]\nalice = 'sha256:secret'", 'or "sha256:HEX"'),
        ("[auth.keys]\nalice = 'env:not a name secret'", 'must be "env:VAR"'),
        ("[auth]\nkeys = ['secret']", 'headwater.toml:2: "auth.keys" must be a table'),
        ("server = 1", 'headwater.toml:1: "server" must be a table'),
        (
            "[providers.x]\ndialect = 'opnai'",
            'must be one of openai, responses, anthropic, gemini, ollama, tape, not "opnai"',
        ),
        (
            "[providers.'a/b']\ndialect = 'openai'",
            'headwater.toml:1: a provider\'s name has no "/"',
        ),
        (
            "[providers.x]\nwire = 'openai'",
            'unknown key "wire" in [providers.x]; did you mean "dialect"?',
        ),
        ("[models.m]\nroute = []", "must name at least one provider/model"),
        ("[models.m]\nroute = ['gpt']", 'must hold provider/model entries, not "gpt"'),
        ("\n[models.m]\nhedge = {}", 'headwater.toml:2: [models.m] lacks "route"'),
        ("[models.m]\nroute = ['a/b']\nhedge = {after='90'}", "must be a percentile"),
        ("[models.m]\nroute = ['a/b']\nhedge = {after=0}", "must be a percentile"),
        ("[models.m]\nroute = ['a/b']\nhedge = {after=-1.5}", "must be a percentile"),
        ("[models.m]\nroute = ['a/b']\nhedge = {after=inf}", "must be a percentile"),
        ("[models.m]\nroute = ['a/b']\nhedge = {after=true}", "must be a string"),
        ("[server\nport = 1", "headwater.toml:1: not TOML: "),
        ("[server]\nport = 1\nport = 2", "headwater.toml:3: not TOML: "),
        ('[server]\nhost = "', "headwater.toml:2: not TOML: "),
        ("a = " + "[" * 5000, "headwater.toml: nested too deeply"),
        ("a." * 5000 + "b = 1", "headwater.toml: nested too deeply"),
        (
            "[server]\nhost = '::1'\nworkers = 2",
            "headwater.toml:3: memory:// cannot be shared by 2 workers",
        ),
    ],
)
def test_wrong_files(tmp_path: Path, toml: str, message: str) -> None:
    for text in (toml, toml.replace("\n", "\r\n")):
        with pytest.raises(ConfigurationError) as caught:
            read(tmp_path, text)
        assert message in str(caught.value)
        assert str(caught.value).startswith("headwater.toml")
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value).replace("a key itself", "")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SERVER__PORRT", "1", "unknown setting; did you mean HEADWATER_SERVER__PORT?"),
        ("SEVER__PORT", "1", "unknown setting; did you mean HEADWATER_SERVER"),
        ("SERVER__PORT__X", "1", "must be an integer"),
        ("SERVER__", "1", "unknown setting"),
        ("__", "1", "unknown setting"),
        ("SERVER__PORT", "80a", 'must be an integer from 0 to 65535, not "80a"'),
        ("SERVER__PORT", "[" * 5000, "must be an integer"),
        ("SERVER__HEARTBEAT_S", "nan", "must be a number"),
        (
            "SERVER__HEARTBEAT_S",
            "soon",
            'must be a number above 0 and at most 31622400, not "soon"',
        ),
        ("AUTH__ANONYMOUS", "maybe", 'must be true or false, not "maybe"'),
        ("AUTH__KEYS__A", "s3cret", 'must be "env:VAR"'),
        ("AUTH__KEYS", "s3cret", "must be a table"),
        ("AUTH__KEYS", '{"a": "s3cret"}', 'must be "env:VAR"'),
        ("SERVER", "1", None),
        ("PROVIDERS__P__BASE_URL", "http://u:s3cret@h", "must hold no user or password"),
        ("MODELS__M__HEDGE__AFTER", "p9", 'lacks "route"'),
        ("SERVER__WORKERS", "2", "memory:// cannot be shared"),
    ],
)
def test_wrong_variables(tmp_path: Path, name: str, value: str, message: str | None) -> None:
    environ = {f"HEADWATER_{name}": value}
    if message is None:
        assert read(tmp_path, environ=environ) == Settings()
        return
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, environ=environ)
    assert str(caught.value).startswith(f"HEADWATER_{name}: ")
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"server.port": "x"}, '--port: must be an integer from 0 to 65535, not "x"'),
        ({"store.url": "x"}, "--store: must be a URL such as memory://"),
        ({"server.workers": 4}, "--workers: memory:// cannot be shared by 4 workers"),
        ({"server.prt": 4}, "unknown setting; did you mean server.port?"),
    ],
)
def test_wrong_flags(tmp_path: Path, flags: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--") as caught:
        read(tmp_path, flags=flags)
    assert message in str(caught.value)


def test_flags_may_bring_tuples(tmp_path: Path) -> None:
    flags: dict[str, object] = {"server.allowed_hosts": ("a", "b"), "server.port": 0}
    server = read(tmp_path, flags=flags).server
    assert (server.allowed_hosts, server.port) == (("a", "b"), 0)


def test_config_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "no.toml"
    with pytest.raises(ConfigurationError, match=r"no\.toml: no such configuration file$"):
        load(environ={}, config=missing, cwd=tmp_path)
    with pytest.raises(ConfigurationError, match=r"cannot be read: is a directory$"):
        load(environ={}, config=tmp_path)
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b"[server]\nhost = '\xff'\n")
    with pytest.raises(ConfigurationError, match=r"bad\.toml:2: is not UTF-8$"):
        load(environ={}, config=bad)
    bad.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigurationError, match="larger than 1 MiB"):
        load(environ={}, config=bad)


def test_a_given_config_replaces_the_default_file(tmp_path: Path) -> None:
    (tmp_path / "headwater.toml").write_text("[server]\nport = 1")
    other = tmp_path / "other.toml"
    other.write_text("[server]\nworkers = 1")
    assert load(environ={}, config=other, cwd=tmp_path).server.port == 8000


@given(
    before=st.lists(
        st.sampled_from(
            [
                "",
                "# port = 1",
                "[server]",
                "[auth]",
                'host = "a"',
                'default_model = """\n[x]\n"""',
                'allowed_hosts = [\n "a", # ]\n]',
                "cors_origins = []",
                "upstream = '''http://h\n'''",
            ]
        ),
        unique=True,
        max_size=6,
    )
)
def test_the_line_is_right_after_whatever_came_before(before: list[str]) -> None:
    from headwater.settings.files import _lines

    text = "\n".join([*before, "[store]", "zz.yy = 1"])
    lines = _lines(text)
    assert lines["store", "zz"] == lines["store", "zz", "yy"] == text.count("\n") + 1
    assert lines[("store",)] == text.count("\n")


@pytest.mark.parametrize(
    ("host", "keys", "message"),
    [
        ("127.0.0.1", {}, None),
        ("127.8.8.8", {}, None),
        ("localhost", {}, None),
        ("::1", {}, None),
        ("[::1]", {}, None),
        ("0.0.0.0", {}, "refusing to listen on 0.0.0.0 without keys"),
        ("::", {}, "refusing to listen on :: without keys"),
        ("", {}, "refusing to listen on all addresses without keys"),
        ("10.0.0.1", {}, "refusing"),
        ("example.com", {}, "refusing"),
        ("localhost.example.com", {}, "refusing"),
        ("0.0.0.0", {"a": SHA}, None),
        ("0.0.0.0", {"a": "env:THERE"}, None),
        ("127.0.0.1", {"a": "env:ABSENT"}, "auth.keys.a: the environment variable ABSENT"),
        ("127.0.0.1", {"a": "env:EMPTY"}, "auth.keys.a: the environment variable EMPTY"),
    ],
)
def test_exposure(host: str, keys: dict[str, str], message: str | None, tmp_path: Path) -> None:
    table = "".join(f'\n{name} = "{key}"' for name, key in keys.items())
    settings = read(tmp_path, f'[server]\nhost = "{host}"\n[auth.keys]{table}')
    environ = {"THERE": "k", "EMPTY": " "}
    if message is None:
        check_exposure(settings, environ)
        return
    with pytest.raises(ConfigurationError, match="^" + message):
        check_exposure(settings, environ)


def test_anonymous_does_not_open_the_server(tmp_path: Path) -> None:
    settings = read(tmp_path, '[server]\nhost = "0.0.0.0"\n[auth]\nanonymous = true')
    with pytest.raises(ConfigurationError, match="refusing"):
        check_exposure(settings, {})


@pytest.mark.parametrize(
    ("own", "built_in", "expected"),
    [
        (
            ProviderSettings("http://h"),
            Endpoint(base_url="https://api", api_key_env="SECRET_KEY", dialect="anthropic"),
            Endpoint(base_url="http://h", api_key_env=None, dialect="openai"),
        ),
        (
            ProviderSettings(api_key_env="MINE"),
            Endpoint(base_url="https://api", api_key_env="K", dialect="anthropic", continues=True),
            Endpoint(
                base_url="https://api", api_key_env="MINE", dialect="anthropic", continues=True
            ),
        ),
        (
            ProviderSettings(renames={"seed": "random_seed"}),
            Endpoint(base_url="https://api", renames={"stream_options": ""}),
            Endpoint(base_url="https://api", renames={"stream_options": "", "seed": "random_seed"}),
        ),
        (
            ProviderSettings("http://h"),
            Endpoint(base_url="https://api", renames={"stream_options": ""}),
            Endpoint(base_url="http://h"),
        ),
        (
            ProviderSettings("http://h", dialect="ollama"),
            None,
            Endpoint(base_url="http://h", dialect="ollama"),
        ),
    ],
)
def test_a_provider_over_the_catalogue(
    own: ProviderSettings, built_in: Endpoint | None, expected: Endpoint
) -> None:
    assert own.endpoint("x", built_in) == expected


def test_a_provider_without_a_url() -> None:
    with pytest.raises(ConfigurationError, match=r"^\[providers.x\] lacks base_url$"):
        ProviderSettings(api_key_env="K").endpoint("x")


def test_importing_brings_no_server() -> None:
    code = (
        "import sys, headwater.settings; "
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('asyncio', 'click', 'rich', 'starlette', 'uvicorn', 'ssl', 'httptools', 'difflib')])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"


def test_every_check_is_of_a_setting() -> None:
    ends = {(row.section.partition(".")[0], row.key) for row in document()}
    assert {(path.partition(".")[0], path.rpartition(".")[2]) for path in CHECKS} <= ends
