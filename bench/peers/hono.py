"""Hono and the Vercel AI SDK on Node, as the SDK's own Hono example."""

from __future__ import annotations

from bench.peer import Ask, Command, House, Relay, Upstreams, prompt_body
from bench.programs import install_node, node_program


class Hono(Relay):
    name = "Hono + AI SDK"

    def install(self, house: House) -> str:
        return install_node(house, ["hono", "ai"])

    def command(self, house: House, port: int, upstreams: Upstreams) -> Command:
        environment = {**upstreams.environment(), "PORT": str(port), "NODE_ENV": "production"}
        return Command([node_program(), str(house.root / "node/hono_app.mjs")], environment)

    def ask(self, upstream: str, model: str) -> Ask:
        return Ask(f"/{upstream}/stream", prompt_body(model))
