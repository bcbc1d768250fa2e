"""The engine: a child process that serves the embedded model as an OpenAI-compatible upstream.

A process of its own, so that computing tokens cannot hold our event loop, and so that a crash in
native code costs one answer and not the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import sys
import time
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from headwater.errors import HeadwaterError, UnavailableError, UpstreamError
from headwater.observe.logs import without_request
from headwater.providers.local.crashes import Crashes
from headwater.providers.local.weights import spec_of, weights_path

log = logging.getLogger(__name__)

#: Streams generated at the same time; more wait for a slot. Four keep two cores busy.
SLOTS: Final = 4
#: Tokens of one conversation, prompt and answer. A token costs 23 KB, in every slot.
CONTEXT: Final = 2048
#: More threads than this only wait for each other in a model of this size.
MAX_THREADS: Final = 4
#: Seconds for loading the model, which takes less than one from a warm disk.
START_S: Final = 30.0
#: Seconds the child has to end by itself before it is killed.
STOP_S: Final = 2.0
#: Seconds in which a child that is dying is gone. A child that breaks off for another reason costs
#: its caller as much.
DOUBT_S: Final = 1.0
#: At most this many starts in so many seconds: a child that dies at once is not started for ever.
STARTS: Final = 5
STARTS_S: Final = 60.0
#: What the child needs of our environment. No provider's key is among it.
ENVIRONMENT: Final = frozenset(
    {
        *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT"),
        *("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    }
)

_CHILD: Final = Path(__file__).with_name("child.py")


def available(name: str, cache: Path | None = None) -> bool:
    """Say whether `name` can be served: its weights are here and so is `xllamacpp`."""
    return not missing(name, cache)


def missing(name: str, cache: Path | None = None) -> str:
    """What is to be run before `name` can be served, as in a shell; "" when it is all here."""
    try:
        weights = weights_path(name, cache)
    except HeadwaterError:
        weights = None
    steps = [
        "" if find_spec("xllamacpp") else "pip install 'headwater[local]'",
        "" if weights else f"headwater models pull {name}",
    ]
    return " && ".join(filter(None, steps))


class Engine:
    """Serves one embedded model on a loopback port, from the first `base_url()` to `aclose()`.

    It belongs to one event loop. `cache` is the folder below which the weights lie, by default the
    user's cache. Making an engine starts nothing.
    """

    def __init__(self, name: str = "smollm2-135m", cache: Path | None = None) -> None:
        spec_of(name)
        self.name = name
        self.crashes = Crashes()
        self._cache = cache
        self._api_key = secrets.token_urlsafe(32)
        self._start: asyncio.Task[str] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._stopped: asyncio.subprocess.Process | None = None  # by this engine
        self._watcher: asyncio.Task[None] | None = None
        self._lines: deque[str] = deque(maxlen=50)
        self._started: deque[float] = deque(maxlen=STARTS)
        self._closed = False

    @property
    def api_key(self) -> str:
        """The key the child asks of its callers, since every local user reaches its port."""
        return self._api_key

    @property
    def pid(self) -> int | None:
        """Process id of the child, None when none runs."""
        process = self._process
        return process.pid if process and process.returncode is None else None

    async def base_url(self, *, doubted: bool = False) -> str:
        """Return `http://127.0.0.1:PORT/v1`, with the child up; start it if it is not.

        `doubted`: it has just broken off an answer, and its port outlives it.

        Callers at the same time share one start, and one of them leaving does not stop it. Raises
        UnavailableError when weights or `xllamacpp` are missing or the engine is closed, and
        UpstreamError when the child does not start or keeps dying.
        """
        if self._closed:
            raise _closed()
        if doubted:
            await self.settled()
        if self._start is None or self._is_over(self._start):
            self._start = asyncio.create_task(self._launch(), context=without_request())
            # Its callers may all have left by the time it fails.
            self._start.add_done_callback(lambda task: task.cancelled() or task.exception())
        start = self._start
        try:
            return await asyncio.shield(start)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if start.cancelled() and task is not None and not task.cancelling():
                # It was the engine that was closed, not the caller that was cancelled.
                raise _closed() from None
            raise

    async def settled(self) -> None:
        """Wait for the end of a child that may be dying, and for what `crashes` makes of it."""
        if self._watcher is not None:
            await asyncio.wait([self._watcher], timeout=DOUBT_S)

    async def aclose(self) -> None:
        """Stop the child, at once if it does not end by itself; the engine starts no other."""
        self._closed = True
        if self._start is not None:
            self._start.cancel()
            await asyncio.wait([self._start])
        await self._stop()

    def _is_over(self, start: asyncio.Task[str]) -> bool:
        return start.done() and (start.cancelled() or bool(start.exception()) or self.pid is None)

    async def _launch(self) -> str:
        settings = self._settings()
        self._count_start()
        if self._process is not None:
            await self._explain(self._process)
            await self._stop()
        began = time.monotonic()
        try:
            async with asyncio.timeout(START_S):
                url = await self._spawn(settings)
        except TimeoutError:
            await self._stop()
            raise UpstreamError(
                "upstream_timeout", f"the embedded model did not start within {START_S:g} s"
            ) from None
        except BaseException:
            await self._stop()
            raise
        log.info("embedded model %s up in %.2f s", self.name, time.monotonic() - began)
        return url

    def _settings(self) -> dict[str, object]:
        weights, steps = weights_path(self.name, self._cache), missing(self.name, self._cache)
        if weights is None or steps:
            raise UnavailableError(
                "provider_not_configured", f"the embedded model is not here yet: run `{steps}`"
            )
        return {
            "name": self.name,
            "weights": str(weights),
            "api_key": self._api_key,
            "parent": os.getpid(),
            "slots": SLOTS,
            "context": CONTEXT,
            "threads": _threads(),
        }

    def _count_start(self) -> None:
        now = time.monotonic()
        if len(self._started) == STARTS and now - self._started[0] < STARTS_S:
            raise UpstreamError(
                "upstream_error",
                "the embedded model keeps stopping; the log has its last line",
                retry_after=STARTS_S - (now - self._started[0]),
            )
        self._started.append(now)

    async def _spawn(self, settings: dict[str, object]) -> str:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", str(_CHILD)),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env={k: v for k, v in os.environ.items() if k.upper() in ENVIRONMENT},
        )
        self._process = process
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        assert stdin is not None and stdout is not None and stderr is not None  # noqa: S101, PT018
        self._reader = asyncio.create_task(self._drain(stderr))
        self._watcher = asyncio.create_task(self._watch(process))
        with contextlib.suppress(ConnectionError):
            stdin.write(json.dumps(settings).encode() + b"\n")
            await stdin.drain()
        url = _url_of(await stdout.readline())
        if url is None:
            await self._explain(process)
            raise UpstreamError("upstream_error", "the embedded model did not start")
        return f"{url}/v1"

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        if process is not self._stopped:
            self.crashes.crashed()

    async def _drain(self, stderr: asyncio.StreamReader) -> None:
        """Keep the child's last lines: its pipe must not fill, and its end be explained."""
        while True:
            try:
                line = await stderr.readline()
            except ValueError:  # longer than the reader's limit of 64 KiB; it was dropped
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()[:500]
            self._lines.append(text)
            log.debug("embedded model: %s", text)

    async def _explain(self, process: asyncio.subprocess.Process) -> None:
        """Log how the child ended; the caller's error does not quote what native code printed."""
        code = await process.wait()
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=STOP_S)
        log.error(
            "embedded model %s ended with %d: %s", self.name, code, (self._lines or ["-"])[-1]
        )

    async def _stop(self) -> None:
        """End the child, if there is one, and what reads it."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            self._stopped = process
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])


def _closed() -> UnavailableError:
    return UnavailableError("overloaded", "the embedded model is shutting down")


def _threads() -> int:
    """Threads to compute with: all cores this process may use but one.

    Threads wait for each other by spinning. With one on every core, whatever else runs, the relay
    first of all, stops them all: on two busy cores first tokens then took up to 3 s and four
    streams a third of what one thread gives.
    """
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores - 1, MAX_THREADS))


def _url_of(answer: bytes) -> str | None:
    """Return the child's address, None when it said none or one beyond loopback."""
    try:
        url = json.loads(answer)["url"]
    except (ValueError, KeyError, TypeError):
        return None
    return url if isinstance(url, str) and url.startswith("http://127.0.0.1:") else None
