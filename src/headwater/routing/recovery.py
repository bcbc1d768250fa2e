"""Which candidates continue an answer that broke off, for one request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from headwater.errors import HeadwaterError, RequestError
from headwater.events import NotTried
from headwater.generation import GenerationRequest, PartialText
from headwater.providers.base import Source
from headwater.routing.router import Router
from headwater.routing.source import UnstartedAttempt

# What may pass, of an upstream. A filter, a refusal and our own faults do not.
_MAY_PASS: Final = frozenset(
    {"truncated", "upstream_error", "upstream_timeout", "rate_limited", "overloaded"}
)
# Ask for an answer that a grammar holds to a form: the grammar would start over inside of it.
_FORMS: Final = ("grammar", "guided_", "json_schema", "response_format", "structured_outputs")


class Recovery:
    """What failures after the first token lead to, for one request.

    `asked` is the route's first choice; `candidates` gives, for the text so far, those that can
    continue it: None where no entry of the route `continues`. `wrap` is put around each of them.
    """

    __slots__ = ("_candidates", "_name", "_refusal", "_request", "_router", "_wrap", "asked")

    def __init__(
        self,
        router: Router,
        name: str,
        asked: str,
        request: GenerationRequest,
        candidates: Callable[[PartialText], Sequence[UnstartedAttempt]] | None,
        wrap: Callable[[Source], Source] | None = None,
    ) -> None:
        self._router = router
        self._wrap = wrap
        self._name = name
        self.asked = asked
        self._refusal = "no_continuing_provider" if candidates is None else _refusal(request)
        # The stream may be long: a request that is not needed again is not kept.
        self._candidates = None if self._refusal else candidates
        self._request = None if self._refusal else request

    def kept(self) -> GenerationRequest | NotTried:
        """The request, for another process; else why that could not continue the text."""
        if self._request is None:
            return self._refusal or "no_continuing_provider"
        # A transform is code of this process.
        return self._request if self._wrap is None else "transform"

    def ended(self, route: str | None, error: HeadwaterError | None) -> None:
        """An answer of `route`, or of the first choice, has ended after its first token."""
        self._router.ended(route or self.asked, error)

    def refusal(self, error: HeadwaterError) -> NotTried | None:
        """Why no other attempt is made after this error; None where one may succeed."""
        if self._refusal is not None:
            return self._refusal
        return None if error.retryable and error.code in _MAY_PASS else "final_error"

    def source(self, said: PartialText) -> Source:
        """A source that continues the text, not begun; `HeadwaterError` when there is none."""
        if self._candidates is None:
            raise RequestError("No provider of this route can continue a given text.")
        source = self._router.source(self._candidates(said), self._name, asked=self.asked)
        return source if self._wrap is None else self._wrap(source)


def _refusal(request: GenerationRequest) -> NotTried | None:
    for name, value in request.options.items():
        if name.startswith(_FORMS) and value not in (None, {"type": "text"}):
            return "answer_format"
    # The text may continue such a message or be a new one: the request does not say which.
    if request.messages and request.messages[-1].get("role") == "assistant":
        return "assistant_prefill"
    return None
