"""Portkey's gateway on Node: it takes the provider and its host from headers."""

from __future__ import annotations

from collections.abc import Mapping

from bench.peer import Ask, Command, House, Relay, Upstreams, chat_body
from bench.programs import install_node, node_program


class Portkey(Relay):
    name = "Portkey gateway"

    def __init__(self) -> None:
        self._urls: Mapping[str, str] = {}

    def install(self, house: House) -> str:
        return install_node(house, ["@portkey-ai/gateway"])

    def command(self, house: House, port: int, upstreams: Upstreams) -> Command:
        self._urls = upstreams.urls
        node = house.root / "node"
        server = node / "node_modules/@portkey-ai/gateway/build/start-server.js"
        shim = ["--import", str(node / "portkey_shim.mjs")]
        environment = {**upstreams.environment(), "NODE_ENV": "production"}
        return Command(
            [node_program(), *shim, str(server), "--headless", f"--port={port}"], environment
        )

    def ask(self, upstream: str, model: str) -> Ask:
        host = f"x-portkey-custom-host: {self._urls.get(upstream, '')}"
        return Ask("/v1/chat/completions", chat_body(model), ("x-portkey-provider: openai", host))
