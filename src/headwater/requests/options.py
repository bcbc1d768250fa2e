"""Keywords of `response`, `stream` and `stream_sync`: their types, and checks at run time."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Mapping
from typing import Any, Final

from headwater.errors import ConfigurationError, HeadwaterError, RequestError
from headwater.generation import Sampling
from headwater.providers.iterator import is_items
from headwater.streams.ending import OnEnd
from headwater.transforms import Change, Transforms
from headwater.wires.base import OnDisconnect
from headwater.wires.requests import json_type

_PATIENCE: Final = 'on_disconnect= takes "cancel", "continue", or seconds'
# Members of a request that have a place of their own.
_NOT_EXTRA: Final = Sampling.__optional_keys__ | {"messages", "model", "prompt", "stream"}


class GenerationOptions(Sampling, total=False):
    """What is generated: the `model`, sampling parameters, and `extra` members of the request."""

    model: str | None
    extra: Mapping[str, Any] | None


class ResponseOptions(GenerationOptions, total=False):
    """Keywords of a response, beside those of `GenerationOptions`.

    Attributes:
        wire: the wire format; by default `plain`.
        principal: the caller that the stream belongs to: only they may resume and stop it.
        chat: the id of the chat of `useChat` that the stream belongs to.
        on_disconnect: what happens when no reader is left: "cancel", "continue", or seconds.
        on_end: called once with the whole answer.
        transform: changes the text on its way.
        metadata: strings that are kept with the stream.

    """

    wire: str
    principal: str | None
    chat: str | None
    on_disconnect: OnDisconnect | None
    on_end: OnEnd | None
    transform: Transforms | Change | None
    metadata: Mapping[str, str] | None


def check_options(call: str, given: Mapping[str, Any], known: type[Any]) -> None:
    """Check the keywords of a call.

    Args:
        call: what the caller called, for the error.
        given: its keywords.
        known: the `TypedDict` of keywords that it takes.

    Raises:
        TypeError: a keyword has another name; the message gives the nearest.
        ConfigurationError: a value is of a kind that can never be right.

    """
    for name in given:
        if name not in known.__optional_keys__:
            near = difflib.get_close_matches(name, sorted(known.__optional_keys__), 1, 0.0)[0]
            raise TypeError(
                f"{call} takes no {name}=; did you mean {near}=? "
                "Other members of the request go into extra={…}."
            )
    _check_extra(given.get("extra"))
    check_principal(given.get("principal"))
    check_on_disconnect(given.get("on_disconnect"))
    for name in ("on_end", "transform"):
        if given.get(name) is not None and not callable(given[name]):
            raise ConfigurationError(f"{name}= takes a function, not {named(given[name])}")
    metadata = given.get("metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise ConfigurationError(
            f"metadata= takes a dict from names to strings, not {named(metadata)}"
        )


def members_of(options: GenerationOptions) -> dict[str, Any]:
    """The members of the request that these keywords make, without the model."""
    sampling = {name: v for name, v in options.items() if name in Sampling.__optional_keys__}
    return {**sampling, **(options.get("extra") or {})}


def _check_extra(extra: object) -> None:
    if extra is None:
        return
    if not isinstance(extra, Mapping):
        raise ConfigurationError(f"extra= takes a dict of members, not {named(extra)}")
    for name in extra:
        if name in _NOT_EXTRA:
            raise ConfigurationError(
                f"extra= holds members that have no keyword; {name!r} has a place of its own"
            )


def check_principal(principal: object) -> None:
    """`ConfigurationError` for what names no principal: in a store it would be another's."""
    if principal is not None and not isinstance(principal, str):
        raise ConfigurationError(
            f"principal= takes a string or None, not {named(principal)}; str(…) makes it one"
        )


def check_on_disconnect(policy: object) -> None:
    """`ConfigurationError` for what says nothing about a stream that nobody reads."""
    if policy is None or policy in ("cancel", "continue"):
        return
    if isinstance(policy, bool) or not isinstance(policy, (int, float)):
        raise ConfigurationError(f"{_PATIENCE}, not {named(policy)}")
    if not 0 <= policy < math.inf:
        raise ConfigurationError(f"{_PATIENCE} from 0, not {policy}")


def mistaken(x: object) -> HeadwaterError | None:
    """What is wrong with `x` as a question.

    A client's mistake, where its JSON holds something else than a prompt; what no JSON can hold,
    whoever wrote the route has given.
    """
    if x is None or isinstance(x, (bool, int, float)):
        said = f"A prompt is a string or a list of messages, not {json_type(x)}."
        return RequestError(said, param="prompt")
    if isinstance(x, Mapping):
        return RequestError(
            "A prompt is a string or a list of messages, not an object; the whole body of a "
            "request goes in as RequestBody(body).",
            param="prompt",
        )
    # A model of pydantic's can be iterated, but not for text.
    if (
        is_items(x)
        and not isinstance(x, (bytes, bytearray))
        and not hasattr(type(x), "model_fields")
    ):
        return None
    hint = ""
    if inspect.isroutine(x):
        hint = f"; call it: {getattr(x, '__name__', 'it')}(…)"
    elif inspect.iscoroutine(x):
        x.close()
        hint = "; await it, or let it yield"
    elif isinstance(x, (bytes, bytearray)):
        hint = "; decode it"
    elif hasattr(type(x), "model_fields"):
        hint = "; give its member that holds the prompt"
    return ConfigurationError(
        f"a response answers a prompt, a list of messages, a RequestBody, or streams a generator, "
        f"and was given {named(x)}{hint}"
    )


def named(value: object) -> str:
    """A short value as it is written, else the name of its type."""
    written = repr(value) if isinstance(value, (str, int, float)) else ""
    return written if 0 < len(written) <= 40 else f"a {type(value).__name__}"
