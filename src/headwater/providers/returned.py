"""What a caller may send back to a provider as that provider's own data.

Anything else would reach it by a way that no list of members guards: a reference to a stored item,
a file of the account, a page to be fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

#: The parts that a provider knows, each with whether a value is one that it may have sent.
Returnable = Mapping[str, Callable[[Any], bool]]


def is_text(value: Any) -> bool:
    """Whether it is a string, such as a signature."""
    return isinstance(value, str)


def typed(kinds: Callable[[str], bool]) -> Callable[[Any], bool]:
    """What tells objects whose `type` is one of `kinds`."""

    def is_one(value: Any) -> bool:
        kind = value.get("type") if isinstance(value, dict) else None
        return isinstance(kind, str) and kinds(kind)

    return is_one


def only(*names: str) -> Callable[[Any], bool]:
    """What tells objects that have no other members than these."""
    return lambda value: isinstance(value, dict) and value.keys() <= set(names)
