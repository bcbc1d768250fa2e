"""What an adapter needs of `Headwater`, so that adapters stand below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headwater.errors import ConfigurationError
from headwater.generation import Message
from headwater.providers.base import Spawn
from headwater.providers.iterator import Items, iterator_source
from headwater.providers.text import without_surrogates
from headwater.requests.bodies import Asked, RequestBody, asked_by
from headwater.requests.claims import begun_once
from headwater.requests.mistakes import check_on_disconnect, check_principal, mistaken, named
from headwater.requests.runtime import Runtime, wire_named
from headwater.streams import LocalStream, Opened
from headwater.streams.ending import EndCallback, OnEnd
from headwater.transforms import Change, Transforms
from headwater.wires.base import OnDisconnect, Wire
from headwater.wires.requests import chat_request

#: What a response can answer: a prompt, messages, a request's body, or a generator of one's own.
Question = str | list[Message] | RequestBody | Items


class Wish(msgspec.Struct, frozen=True):
    """What a response is asked for, beside the question; `ConfigurationError` where it is wrong.

    `path` and `key` are those of the request, where the host tells of it.
    """

    principal: str | None
    chat: str | None
    on_disconnect: OnDisconnect | None
    on_end: OnEnd | None
    transform: Transforms | Change | None
    metadata: Mapping[str, str] | None
    path: str = ""
    key: str | None = None

    def __post_init__(self) -> None:
        """Said where it was written: found only when a reader leaves, it would stop nothing."""
        check_principal(self.principal)
        check_on_disconnect(self.on_disconnect)
        for name, value in (("on_end", self.on_end), ("transform", self.transform)):
            if value is not None and not callable(value):
                raise ConfigurationError(f"{name}= takes a function, not {named(value)}")
        if self.metadata is not None and not isinstance(self.metadata, Mapping):
            raise ConfigurationError(
                f"metadata= takes a dict from names to strings, not {named(self.metadata)}"
            )


def asked_for(
    x: Question,
    model: str | None,
    options: dict[str, Any],
    *,
    wire: Wire | None = None,
    principal: str | None = None,
    spawn: Spawn | None = None,
) -> Asked:
    """What is to be generated; `RequestError` where it is wrong.

    `spawn` runs a sync generator beside the loop, in a synchronous host.
    """
    if isinstance(x, (str, list)):
        messages = [{"role": "user", "content": x}] if isinstance(x, str) else x
        return Asked(chat_request({**options, "model": model}, _in_utf8(messages)))
    if isinstance(x, RequestBody):
        spoken = wire or wire_named("native")
        return asked_by(_in_utf8(x.value), spoken, principal, model=model, options=options)
    if (mistake := mistaken(x)) is not None:
        raise mistake
    if model is not None or options:
        given = ", ".join(["model"] * (model is not None) + [*options])
        raise ConfigurationError(f"a generator of one's own takes no {given}: it decides itself")
    return Asked(iterator_source(x, spawn))


def _in_utf8(value: Any) -> Any:
    r"""A host's JSON may hold half a character: a page that cuts text by length sends `\ud83d`."""
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        return without_surrogates(value)
    except (TypeError, RecursionError):  # no JSON: what reads it says so
        pass
    return value


async def begin_asked(
    runtime: Runtime, asked: Asked, wire: Wire, wish: Wish, spawn: Spawn | None = None
) -> Opened:
    """The stream of what is asked for, or that of the first request with its key.

    `spawn` runs a plain `on_end` beside the loop, in a synchronous host.
    """
    claim = asked.claim(runtime.hub, wish.principal, wish.path, wish.key)
    policy = asked.on_disconnect(wire) if wish.on_disconnect is None else wish.on_disconnect

    async def generated(stream_id: str) -> LocalStream:
        return await runtime.generate(
            asked.what,
            principal=wish.principal,
            on_disconnect=policy,
            spoken=(wire.name, asked.options),
            label=asked.labelled(wish.principal, wish.chat),
            stream_id=stream_id,
            on_end=None if wish.on_end is None else EndCallback(wish.on_end, spawn),
            transform=wish.transform,
            metadata=wish.metadata,
        )

    return await begun_once(runtime.hub, claim, wish.principal, generated, asked.free)
