"""What an adapter needs of `Headwater`, so that adapters stand below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from headwater.adapters.bridge import Bridge
from headwater.errors import RequestError
from headwater.generation import GenerationRequest, Message
from headwater.providers.base import Source
from headwater.providers.iterator import Items, Spawn, is_items, iterator_source
from headwater.runtime import Runtime
from headwater.streams import Hub
from headwater.streams.claims import Claim
from headwater.wires.requests import chat_request

#: What a response can answer: a prompt, messages, or a generator of one's own.
Question = str | list[Message] | Items


class Library(Protocol):
    """`headwater.Headwater`, as its adapters see it."""

    owner: Callable[[Any], Any] | None

    def runtime(self) -> Runtime:
        """What serves the running event loop."""

    def bridge(self) -> Bridge:
        """The loop beside a synchronous host."""


def asked_for(
    x: Question, model: str | None, options: dict[str, Any], spawn: Spawn | None = None
) -> GenerationRequest | Source:
    """What is to be generated; `RequestError` where it is wrong.

    `spawn` runs a sync generator beside the loop, in a synchronous host.
    """
    if isinstance(x, (str, list)):
        messages = [{"role": "user", "content": x}] if isinstance(x, str) else x
        return chat_request({**options, "model": model}, messages)
    if not is_items(x):
        raise RequestError(
            f"A prompt is a string or a list of messages, not {type(x).__name__}.",
            param="prompt",
        )
    if model is not None or options:
        raise RequestError("A generator of one's own takes no model and no options.")
    return iterator_source(x, spawn)


def free(asked: GenerationRequest | Source) -> None:
    """Close what was to be read, and is not."""
    if not isinstance(asked, GenerationRequest):
        asked.cancel()


def claim_of(
    hub: Hub,
    asked: GenerationRequest | Source,
    principal: str | None,
    path: str,
    key: str | None,
) -> Claim | None:
    """The claim of a request with this `Idempotency-Key`, to a route of one's own.

    What a generator would say is not known before: there the key alone tells requests apart.
    """
    if key is None:
        return None
    what = asked if isinstance(asked, GenerationRequest) else None
    return Claim(hub, principal, path, key, what)
