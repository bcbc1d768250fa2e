"""No relay: the load generator asks the upstream itself, which shows what the two of them cost."""

from __future__ import annotations

from bench.peer import Ask, House, Relay, chat_body


class Direct(Relay):
    name = "none (direct)"
    peer, fast, direct = False, True, True

    def install(self, house: House) -> str:
        return ""

    def ask(self, upstream: str, model: str) -> Ask:
        return Ask("/v1/chat/completions", chat_body(model))
