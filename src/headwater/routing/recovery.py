"""Which candidates continue an answer that broke off, for one request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from headwater.errors import HeadwaterError, RequestError
from headwater.generation import GenerationRequest, PartialText
from headwater.providers.base import Source
from headwater.routing.router import Router
from headwater.routing.source import Candidate
from headwater.wires.base import OnDisconnect

# What may pass, of an upstream. A filter, a refusal and our own faults do not.
_MAY_PASS: Final = frozenset(
    {"truncated", "upstream_error", "upstream_timeout", "rate_limited", "overloaded"}
)
# Ask for an answer that a grammar holds to a form: the grammar would begin anew inside of it.
_FORMS: Final = ("grammar", "guided_", "json_schema", "response_format", "structured_outputs")

_encoder = msgspec.json.Encoder()


class RecoveryPlan(msgspec.Struct, frozen=True):
    """What another process needs to go on with a stream."""

    request: GenerationRequest
    on_disconnect: OnDisconnect


#: The form in which a plan is stored back to a plan; `msgspec.DecodeError` when it is not one.
read_plan = msgspec.json.Decoder(RecoveryPlan).decode


class Recovery:
    """What failures after the first token lead to, for one request.

    `asked` is the route's first choice; `candidates` gives, for what was said, those that can go on
    from there: None where no entry of the route `continues`. `wrap` is put around each of them.
    """

    __slots__ = ("_candidates", "_name", "_request", "_router", "_wrap", "asked")

    def __init__(
        self,
        router: Router,
        name: str,
        asked: str,
        request: GenerationRequest,
        candidates: Callable[[PartialText], Sequence[Candidate]] | None,
        wrap: Callable[[Source], Source] | None = None,
    ) -> None:
        self._router = router
        self._wrap = wrap
        self._name = name
        self.asked = asked
        goes_on = candidates is not None and _can_go_on(request)
        self._candidates = candidates if goes_on else None
        # The stream may be long: what nobody will ask again is not kept.
        self._request = request if goes_on else None

    @property
    def continues(self) -> bool:
        return self._candidates is not None

    def plan(self, on_disconnect: OnDisconnect) -> bytes | None:
        """What another process needs to do the same; None where it could not."""
        if self._request is None or self._wrap is not None:  # which is code of this process
            return None
        try:
            return _encoder.encode(RecoveryPlan(self._request, on_disconnect))
        except UnicodeEncodeError:  # half a character, which JSON can spell and UTF-8 cannot
            return None

    def ended(self, route: str | None, error: HeadwaterError | None) -> None:
        """An answer of `route`, or of the first choice, has ended after its first token."""
        self._router.ended(route or self.asked, error)

    def mends(self, error: HeadwaterError) -> bool:
        """Whether another attempt may do better."""
        return self.continues and error.retryable and error.code in _MAY_PASS

    def source(self, said: PartialText) -> Source:
        """Whoever goes on from there, not begun; `HeadwaterError` when nobody can."""
        if self._candidates is None:
            raise RequestError("No provider of this route can go on from a given text.")
        source = self._router.source(self._candidates(said), self._name, asked=self.asked)
        return source if self._wrap is None else self._wrap(source)


def _can_go_on(request: GenerationRequest) -> bool:
    for name, value in request.options.items():
        if name.startswith(_FORMS) and value not in (None, {"type": "text"}):
            return False
    # Whether the answer was the rest of such a message or a new one, nobody can tell.
    return not request.messages or request.messages[-1].get("role") != "assistant"
