"""Headwater: an entry for every store and wire. A new one is a line in `STORES` or `WIRES`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peer import Ask, Command, House, Missing, Relay, Upstreams, chat_body
from bench.ports import await_port, free_port
from bench.processes import Program
from bench.programs import output

#: By name, the value of `--store`; `{folder}` is an empty one, `{redis}` a port.
STORES = {
    "memory": "memory://",
    "sqlite": "sqlite:///{folder}/streams.db",
    "redis": "redis://127.0.0.1:{redis}/0",
}
#: By name, the path at which a stream is begun in it.
WIRES = {"plain": "/stream", "OpenAI": "/v1/chat/completions"}

_PROVIDER = '[providers.{name}]\nbase_url = "{url}"\n'


class HeadwaterRelay(Relay):
    peer, fast = False, True

    def __init__(self, store: str, wire: str, settings: dict[str, object] | None = None) -> None:
        self.name = f"Headwater, {store}, {wire}"
        self._store = store
        self._path = WIRES[wire]
        self._settings = settings or {}
        self._redis = 0
        # A log is the same whatever wire its stream was begun in: one of them is asked about it.
        self.log = wire == "plain"

    def install(self, house: House) -> str:
        # uvicorn and msgspec are part of the figure.
        names = ["headwater", "uvicorn", "uvloop", "httptools", "msgspec"]
        code = (
            "import importlib.metadata as m, sys; "
            "print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"
        )
        return output([sys.executable, "-c", code, *names]).removeprefix("headwater ")

    def command(self, house: House, port: int, upstreams: Upstreams) -> Command:
        folder = house.scratch(f"headwater-{port}")
        config = folder / "headwater.toml"
        lines = [f"{key} = {json.dumps(value)}" for key, value in self._settings.items()]
        tables = [_PROVIDER.format(name=name, url=url) for name, url in upstreams.urls.items()]
        config.write_text("\n".join([*lines, *tables]))
        store = STORES[self._store].format(folder=folder, redis=self._redis)
        program = Path(sys.executable).with_name("headwater")
        return Command(
            [program, "serve", "--port", str(port), "--config", str(config), "--store", store]
        )

    @contextmanager
    def beside(self, house: House) -> Iterator[None]:
        if self._store != "redis":
            yield
            return
        server = shutil.which("redis-server")
        if server is None:
            raise Missing("there is no redis-server here")
        self._redis = free_port()
        folder = house.scratch(f"redis-{self._redis}")
        line = [server, "--port", str(self._redis), "--bind", "127.0.0.1", "--save", ""]
        with Program(line, log=folder / "log", cwd=folder):
            if not await_port(self._redis):
                raise Missing("redis-server did not start")
            yield

    def ask(self, upstream: str, model: str) -> Ask:
        return Ask(self._path, chat_body(f"{upstream}/{model}"))


def headwaters() -> list[Relay]:
    """An entry for every store in every wire."""
    return [HeadwaterRelay(store, wire) for store in STORES for wire in WIRES]


def soaked() -> Relay:
    """With a store so small that it is full within seconds."""
    return HeadwaterRelay("memory", "plain", {"store.max_bytes": 16 * 1024 * 1024})
