"""What an adapter needs of `Headwater`, so that adapters stand below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from headwater.adapters.bodies import Asked, RequestBody
from headwater.adapters.bridge import Bridge
from headwater.generation import Message
from headwater.providers.iterator import Items, Spawn
from headwater.runtime import Runtime
from headwater.wires.base import Wire

#: What a response can answer: a prompt, messages, a request's body, or a generator of one's own.
Question = str | list[Message] | RequestBody | Items


class Library(Protocol):
    """`headwater.Headwater`, as its adapters see it."""

    owner: Callable[[Any], Any] | None

    def runtime(self) -> Runtime:
        """What serves the running event loop."""

    def bridge(self) -> Bridge:
        """The loop beside a synchronous host."""

    def asked(
        self,
        x: Question,
        model: str | None,
        options: dict[str, Any],
        *,
        wire: Wire | None = None,
        owner: str | None = None,
        spawn: Spawn | None = None,
    ) -> Asked:
        """What is to be generated; `RequestError` where it is wrong."""
