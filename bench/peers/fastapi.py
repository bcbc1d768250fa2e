"""The relay that everybody writes: FastAPI, sse-starlette and the openai SDK, under uvicorn."""

from __future__ import annotations

from bench.peer import Ask, Command, House, Relay, Upstreams, prompt_body
from bench.programs import APPS, bin_of, install_python


class FastAPI(Relay):
    name = "FastAPI + sse-starlette + openai"

    def install(self, house: House) -> str:
        packages = ["fastapi", "sse-starlette", "openai", "uvicorn", "uvloop", "httptools"]
        return install_python(house, "relays", packages)

    def command(self, house: House, port: int, upstreams: Upstreams) -> Command:
        uvicorn = [bin_of(house, "relays", "uvicorn"), "fastapi_app:app", "--port", str(port)]
        settings = "--loop uvloop --http httptools --no-access-log --log-level warning"
        return Command(
            [*uvicorn, "--app-dir", str(APPS), *settings.split(), "--backlog", "4096"],
            upstreams.environment(),
        )

    def ask(self, upstream: str, model: str) -> Ask:
        return Ask(f"/{upstream}/stream", prompt_body(model))
