"""Random requests over every POST route and every dialect of a real server.

    python fuzz/request_bodies.py --count 10000 [--seed 1]

Takes requests with every known member, puts other values in random places, and sends them over real
sockets to `headwater serve`, whose providers speak each dialect. A 500, a traceback, a turn of the
event loop that takes too long, or memory that grows ends the run with exit status 1 and prints what
was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import httptools
from corpus import REQUESTS

WIRES: Final = ("openai", "responses", "anthropic", "gemini", "ollama")
PATHS: Final = list(REQUESTS)
CONNECTIONS: Final = 8
#: A turn of the event loop may take so long, in seconds.
TURN_S: Final = 0.1
#: Bytes that the server may grow by once it is warm.
GROWTH: Final = 64 * 1024 * 1024

SCALARS: Final[list[Any]] = [
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**400, -(10**30), 0.5, -0.0, 1e308, 5e-324),
    *("", "x", "\0", "\r\n", "é😀", "x" * 300, "x" * 5000, "1", "null", "none", "auto", "text"),
    *("user", "assistant", "tool", "function", "image_url", "data:,", "data:image/png;base64,%%"),
    *("http://[", "https://a.example/\ud800x"[:18], "{", '{"a": 1}', "\u202e", "-1-1", "../../etc"),
]
NAMES: Final = [
    *("type", "role", "content", "text", "id", "name", "function", "tool_calls", "parameters"),
    *("url", "image_url", "input", "output", "is_error", "provider_data", "value", "at", "model"),
    *("stream", "max_tokens", "stop", "messages", "prompt", "parts", "state", "", "\0", "é", "a.b"),
]


class Generator:
    """Bodies that are made of the corpus by a few random changes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - to be repeated by its seed

    def request(self) -> tuple[str, bytes]:
        """A path and a body."""
        path = self._random.choice(PATHS)
        body = _copied(self._random.choice(REQUESTS[path]))
        if path not in ("/agui", "/v1/session"):
            body["model"] = f"fuzz-{self._random.choice(WIRES)}/m"
        elif path == "/agui":
            body["forwardedProps"]["model"] = f"fuzz-{self._random.choice(WIRES)}/m"
        for _ in range(self._random.choice((0, 1, 1, 1, 2, 2, 3, 5, 8))):
            body = self._changed(body)
        return path, json.dumps(body).encode()

    def _changed(self, body: Any) -> Any:
        """The body with one change somewhere."""
        places = list(_places(body))
        if not places:
            return self._junk()
        holder, key = self._random.choice(places)
        action = self._random.randrange(8)
        if action == 0:
            del holder[key]
        elif action == 1 and isinstance(holder, dict):
            holder[self._random.choice(NAMES)] = holder.pop(key)
        elif action == 2 and isinstance(holder, dict):
            holder[self._random.choice(NAMES)] = self._junk()
        elif action == 3 and isinstance(holder, list):
            holder.insert(key, _copied(holder[key]))
        elif action == 4:
            holder[key] = [holder[key]]
        elif action == 5:
            other, name = self._random.choice(places)
            holder[key] = _copied(other[name]) if len(places) < 400 else None
        else:
            holder[key] = self._junk()
        return body

    def _junk(self, depth: int = 0) -> Any:
        kind = self._random.randrange(6 if depth < 3 else 4)
        if kind == 4:
            return [self._junk(depth + 1) for _ in range(self._random.randrange(3))]
        if kind == 5:
            names = self._random.choices(NAMES, k=self._random.randrange(3))
            return {name: self._junk(depth + 1) for name in names}
        return self._random.choice(SCALARS)


def _copied(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a value: what holds it, and its key or index there."""
    found: list[tuple[Any, Any]] = []
    pending = [value] if isinstance(value, dict | list) else []
    while pending:
        holder = pending.pop()
        keys = holder if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                pending.append(holder[key])
    return found


class Client:
    """One connection to the server, which asks again and again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Headwater-On-Disconnect: cancel\r\n\r\n" + body)
        answer = _Answer()
        parser = httptools.HttpResponseParser(answer)
        while not answer.complete:
            data = await reader.read(65536)
            if not data:
                raise ConnectionError("the server closed the connection")
            parser.feed_data(data)
        if not parser.should_keep_alive():
            self.close()
        return parser.get_status_code(), bytes(answer.body)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class _Answer:
    def __init__(self) -> None:
        self.body = bytearray()
        self.complete = False

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Refuses every request, as a provider does that finds it wrong."""
    body = b'{"error": {"message": "no", "type": "invalid_request_error"}}'
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
    try:
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", request)
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def resident(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) * 1024


class Run:
    """Sends `count` requests, and keeps what was wrong with the answers."""

    def __init__(self, port: int, pid: int, seed: int, count: int) -> None:
        self._port = port
        self._pid = pid
        self._generator = Generator(seed)
        self._left = iter(range(count))
        self._warm_at = count // 10
        self.warm = 0
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []

    async def send(self) -> None:
        """One client's requests."""
        client = Client(self._port)
        for number in self._left:
            if self.wrong:
                break
            if number == self._warm_at:
                self.warm = resident(self._pid)
            path, body = self._generator.request()
            try:
                status, answer = await asyncio.wait_for(client.post(path, body), 30)
            except (TimeoutError, ConnectionError) as error:
                self.wrong.append(f"POST {path} {body!r}\n{type(error).__name__}: {error}")
                break
            self.statuses[status] += 1
            if status == 500 or b'"code":"internal"' in answer:
                self.wrong.append(f"POST {path} {body!r}\n{status} {answer[:500]!r}")
        client.close()


async def run(seed: int, count: int, turn_s: float) -> int:
    provider = await asyncio.start_server(upstream, "127.0.0.1", 0, limit=1 << 24)
    url = f"http://127.0.0.1:{provider.sockets[0].getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder:
        config = '[store]\nmax_bytes = "32 MiB"\n' + "".join(
            f'[providers.fuzz-{wire}]\nbase_url = "{url}"\ndialect = "{wire}"\n' for wire in WIRES
        )
        Path(folder, "headwater.toml").write_text(config)  # noqa: ASYNC240 - nothing runs yet
        server = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("headwater")),
            *("serve", "--port", "0"),
            cwd=folder,
            env={"PATH": "", "HOME": folder, "PYTHONASYNCIODEBUG": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1 << 24,
        )
        try:
            return await _watch(server, seed, count, turn_s)
        finally:
            server.terminate()
            await server.wait()
            provider.close()


async def _watch(server: asyncio.subprocess.Process, seed: int, count: int, turn_s: float) -> int:
    output_of: Any = server.stdout
    lines: list[str] = []
    while (found := re.search(r"listening on http://[^ ]*:(\d+)", "".join(lines))) is None:
        lines.append((await output_of.readline()).decode(errors="replace"))

    async def read() -> None:
        while line := await output_of.readline():
            lines.append(line.decode(errors="replace"))

    reading = asyncio.ensure_future(read())
    began = time.monotonic()
    fuzzing = Run(int(found[1]), server.pid, seed, count)
    await asyncio.gather(*(fuzzing.send() for _ in range(CONNECTIONS)))
    grown = resident(server.pid) - fuzzing.warm
    reading.cancel()
    output = "".join(lines)
    turns = [float(took) for took in re.findall(r"took (\d+\.\d+) seconds", output)]
    wrong = [*fuzzing.wrong, *(line for line in lines if "Traceback" in line)]
    wrong += [f"a turn of the loop took {took} s" for took in turns if took > turn_s]
    if count >= 10_000 and grown > GROWTH:
        wrong.append(f"the server grew by {grown // 2**20} MiB")
    spread = ", ".join(f"{status}: {n}" for status, n in sorted(fuzzing.statuses.items()))
    print(f"{fuzzing.statuses.total()} requests in {time.monotonic() - began:.0f} s, seed {seed}")
    print(f"{spread}; longest turn {max(turns, default=0.0)} s; grown by {grown // 2**20} MiB")
    for each in itertools.islice(wrong, 5):
        print(each, file=sys.stderr)
    if "Traceback" in output:
        print(output[output.index("Traceback") :][:4000], file=sys.stderr)
    return 1 if wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--turn-s", type=float, default=TURN_S)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    return asyncio.run(run(seed, options.count, options.turn_s))


if __name__ == "__main__":
    sys.exit(main())
