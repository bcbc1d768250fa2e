"""What a response can be asked for wrongly: said where it was written, with what is right."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping

from headwater.errors import ConfigurationError, HeadwaterError, RequestError
from headwater.providers.iterator import is_items
from headwater.wires.requests import json_type

_PATIENCE = 'on_disconnect= takes "cancel", "continue", or seconds'


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
