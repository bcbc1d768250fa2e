"""A request's body, and what it asks for in the shape of its wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from headwater.errors import RequestError
from headwater.generation import GenerationRequest
from headwater.providers.base import Source
from headwater.requests.claims import Claim, label_of
from headwater.streams import Hub
from headwater.wires.base import OnDisconnect, Wire
from headwater.wires.requests import chat_request, json_type


class RequestBody(msgspec.Struct, frozen=True):
    """The JSON of a request, to be read as the server reads it: in the shape of its wire.

    For a route of one's own that an SDK asks: `hw.response(RequestBody(await request.json()),
    wire="ui")`. All of it counts, tools, sampling and the model too; what is given beside it
    (`model`, options) comes before. What is wrong with it is the response's status.
    """

    value: Mapping[str, Any]


class Asked(NamedTuple):
    """What is to be generated, and how its answer is to be spoken.

    `options` are the wire's; `whole` wants it as JSON; by its `label` the stream is found again.
    """

    what: GenerationRequest | Source
    options: tuple[Any, ...] = ()
    whole: bool = False
    label: str | None = None

    def claim(self, hub: Hub, principal: str | None, path: str, key: str | None) -> Claim | None:
        """The claim of a request with this `Idempotency-Key`, to a route of one's own.

        What a generator would say is not known before: there the key alone tells requests apart.
        """
        if key is None:
            return None
        known = isinstance(self.what, GenerationRequest)
        return Claim(hub, principal, path, key, self.what if known else None)

    def free(self) -> None:
        """Close what was to be read, and is not."""
        if not isinstance(self.what, GenerationRequest):
            self.what.cancel()

    def labelled(self, principal: str | None, chat: str | None) -> str | None:
        """By what its stream is found again: the chat it is said to belong to comes first."""
        return self.label if chat is None else chat_label(principal, chat)

    def on_disconnect(self, wire: Wire) -> OnDisconnect:
        """What happens when nobody reads and nobody has said what should."""
        return "cancel" if self.whole else wire.on_disconnect


def asked_by(
    value: object,
    wire: Wire,
    principal: str | None,
    *,
    model: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Asked:
    """What the JSON `value` asks for in `wire`; `RequestError` where it is wrong."""
    if not isinstance(value, dict):
        raise RequestError(f"The body must be a JSON object, not {json_type(value)}.")
    what = wire.parse(value)
    if model is not None or options:
        before = {"stream": what.stream, "model": what.model, **what.options}
        own = dict(options or {}) if model is None else {**(options or {}), "model": model}
        what = chat_request({**before, **own}, what.messages)
    chat = value.get("id") if wire.name == "ui" else None
    label = None if chat is None else chat_label(principal, chat)
    return Asked(what, wire.options(value), not what.stream, label)


def chat_label(principal: str | None, chat: str) -> str:
    """What the streams of a chat have in common, in place of their body."""
    # No path has a NUL in it.
    return label_of(principal, "/api/chat\0", chat.encode(errors="replace"))
