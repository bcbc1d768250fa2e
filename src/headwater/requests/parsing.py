"""The `StreamRequest` of a question in an app, or of a JSON body in the shape of a wire."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from headwater import wires
from headwater.errors import ConfigurationError, RequestError
from headwater.generation import GenerationRequest, Message
from headwater.providers.base import Source, Spawn
from headwater.providers.iterator import Items, iterator_source
from headwater.providers.text import without_surrogates
from headwater.requests.claims import label_of
from headwater.requests.options import ResponseOptions, members_of, mistaken
from headwater.streams.ending import EndCallback
from headwater.transforms import Change, Transforms
from headwater.wires.base import OnDisconnect, Wire, WireFormat
from headwater.wires.requests import chat_request, json_type


class RequestBody(msgspec.Struct, frozen=True):
    """The JSON of a request, to be read as the server reads it: in the shape of its wire.

    For a route of your own that an SDK calls: `hw.response(RequestBody(await request.json()),
    wire="ui")`. All of it counts: tools, sampling and the model too. Keywords beside it (`model`,
    sampling parameters) come before. What is wrong with it is the response's status.
    """

    value: Mapping[str, Any]


#: What a response can answer: a prompt, messages, a request's body, or a generator.
Question = str | list[Message] | RequestBody | Items


class StreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a stream, the same from every host.

    Attributes:
        what: the request to generate, or a source of the app's.
        format: the wire format of the answer.
        whole: whether the answer is wanted whole, as JSON.
        principal: the caller.
        label: what requests for the same stream have in common.
        path, key, after: the request's path, `Idempotency-Key` and `Last-Event-ID`, if any.
        on_disconnect: what happens without readers; None: what suits the wire.
        asked_at: `time.monotonic()` when the request arrived.
        size: bytes of its body; large ones take turns.

    """

    what: GenerationRequest | Source
    format: WireFormat
    whole: bool = False
    principal: str | None = None
    label: str | None = None
    path: str = ""
    key: str | None = None
    after: str | None = None
    on_disconnect: OnDisconnect | None = None
    end: EndCallback | None = None
    transform: Transforms | Change | None = None
    metadata: Mapping[str, str] | None = None
    asked_at: float
    size: int = 0

    @property
    def policy(self) -> OnDisconnect:
        """What happens when no reader is left."""
        if self.on_disconnect is not None:
            return self.on_disconnect
        return "cancel" if self.whole else self.format.wire.on_disconnect

    def unused(self) -> None:
        """Close the source, which nothing will read."""
        if not isinstance(self.what, GenerationRequest):
            self.what.cancel()


def parse(
    question: Question, options: ResponseOptions, *, spawn: Spawn | None = None
) -> StreamRequest:
    """The request of a call in an app, with its checked keywords.

    `spawn` runs a sync generator beside the loop, in a synchronous host.

    Raises:
        RequestError: what a client sent is wrong.
        ConfigurationError: the app has asked with something else than a question.

    """
    asked_at = time.monotonic()
    wire = wires.get(options.get("wire", "plain"))
    principal, chat, on_end = options.get("principal"), options.get("chat"), options.get("on_end")
    request = _parsed(question, wire, options, asked_at, spawn)
    return msgspec.structs.replace(
        request,
        principal=principal,
        label=request.label if chat is None else chat_label(principal, chat),
        on_disconnect=options.get("on_disconnect"),
        end=None if on_end is None else EndCallback(on_end, spawn),
        transform=options.get("transform"),
        metadata=options.get("metadata"),
    )


def _parsed(
    question: Question,
    wire: Wire[Any],
    options: ResponseOptions,
    asked_at: float,
    spawn: Spawn | None,
) -> StreamRequest:
    model, members = options.get("model"), members_of(options)
    if isinstance(question, RequestBody):
        return parse_body(
            _in_utf8(question.value),
            wire,
            options.get("principal"),
            asked_at,
            members=members if model is None else {**members, "model": model},
        )
    what: GenerationRequest | Source
    if isinstance(question, (str, list)):
        messages = (
            [{"role": "user", "content": question}] if isinstance(question, str) else question
        )
        what = chat_request({**members, "model": model}, _in_utf8(messages))
    elif (mistake := mistaken(question)) is not None:
        raise mistake
    elif model is not None or members:
        given = ", ".join(["model"] * (model is not None) + [*members])
        raise ConfigurationError(f"a generator takes no {given}: it decides itself")
    else:
        what = iterator_source(question, spawn)
    return StreamRequest(what=what, format=wire.format(), asked_at=asked_at)


def parse_body(
    value: object,
    wire: Wire[Any],
    principal: str | None,
    asked_at: float,
    *,
    members: Mapping[str, Any] | None = None,
) -> StreamRequest:
    """The request of a JSON body in the shape of `wire`; `members` come before its own.

    Raises:
        RequestError: it is wrong.

    """
    if not isinstance(value, dict):
        raise RequestError(f"The body must be a JSON object, not {json_type(value)}.")
    what = wire.parse(value)
    if members:
        own = {"stream": what.stream, "model": what.model, **what.options}
        what = chat_request({**own, **members}, what.messages)
    chat = wire.chat(value)
    return StreamRequest(
        what=what,
        format=wire.format(wire.options(value)),
        whole=not what.stream,
        principal=principal,
        label=None if chat is None else chat_label(principal, chat),
        asked_at=asked_at,
    )


def chat_label(principal: str | None, chat: str) -> str:
    """What the streams of a chat have in common, in place of their body."""
    # No path has a NUL in it.
    return label_of(principal, "/api/chat\0", chat.encode(errors="replace"))


def _in_utf8(value: Any) -> Any:
    r"""A host's JSON may hold half a character: a page that cuts text by length sends `\ud83d`."""
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        return without_surrogates(value)
    except (TypeError, RecursionError):  # no JSON: what reads it says so
        pass
    return value
