"""Which members of a request a provider is sent."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from headwater.errors import RequestError
from headwater.json_text import Place, place_name

#: Sends every member, but those that `_REROUTES` names.
ANY: Final = "*"

# A member that names another place to ask, or another key: forwarding it makes a relay.
_REROUTES: Final = re.compile(
    r"(?:^|_)(?:urls?|uri|base|endpoint|host|proxy|keys?|secret|password|authorization|headers?"
    r"|credentials|fallbacks)$|^extra_|^model_list$|^models$",
    re.IGNORECASE,
)
# Each makes several answers of one request, of which a stream carries one.
_MULTIPLIES: Final = frozenset({"best_of", "n_cmpl", "num_return_sequences", "use_beam_search"})
_NO_MORE: Final = "It takes OpenAI's members, and those for sampling in docs/providers.md."
# Tiers that cost no more than the default one.
_TIERS: Final = ("auto", "default", "flex", "standard_only")


class Forwarding:
    """The members that one provider is sent: those that are known, and those of its settings.

    `extensible`: an operator can name more in its settings.
    """

    def __init__(
        self,
        known: Collection[str],
        configured: Collection[str] = (),
        *,
        extensible: bool = True,
    ) -> None:
        self._known = frozenset(known)
        self._configured = frozenset(configured)
        self._extensible = extensible

    def check(self, options: Mapping[str, Any], provider: str) -> None:
        """`RequestError` for a member that `provider` is not sent; null members do not count."""
        for name, value in options.items():
            if value is None or name in self._configured:
                continue
            if name in self._known:
                if name == "service_tier" and value not in _TIERS:
                    raise _refused(name, provider, f"Its values here are {', '.join(_TIERS)}.")
            elif ANY not in self._configured:
                raise _refused(name, provider, "" if self._extensible else _NO_MORE)
            else:
                _check_unknown(name, value, provider)


def _check_unknown(name: str, value: Any, provider: str) -> None:
    if name in _MULTIPLIES:
        raise _refused(name, provider)
    for place, inner in _names((None, name), value):
        if _REROUTES.search(inner):
            raise _refused(place_name(place), provider)


def _names(place: Place, value: Any) -> Iterator[tuple[Place, str]]:
    """Every name within a member, and its own, with their places."""
    if place is not None and isinstance(place[1], str):
        yield place, place[1]
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _names((place, name), inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            if isinstance(inner, dict | list):
                yield from _names((place, number), inner)


def _refused(path: str, provider: str, more: str = "") -> RequestError:
    path = path[:100]
    hint = more or f"An operator can allow it: [providers.{provider}] members."
    return RequestError(f"{path} is not sent to {provider} from here. {hint}", param=path)
