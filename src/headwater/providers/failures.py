"""What a provider's error means to our caller.

Shapes seen, in a body or inside a stream: OpenAI and vLLM `{"error": {message, type, param,
code}}`; Groq the same with `status_code`; Gemini `{"error": {code, status, message}}`; OpenRouter
`{"error": {code, message}}` beside `choices`; Anthropic `{"type": "error", "error": {type,
message}}`; Responses `{"type": "error", code, message}` and `{"type": "response.failed",
"response": {"error": {code, message}}}`; older vLLM `{"object": "error", message, code}`; Ollama
and others `{"error": "text"}`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from headwater.errors import HeadwaterError, UpstreamError
from headwater.observe.shown import printable, redact

# A provider that names an hour would otherwise hold its caller for an hour.
_MAX_RETRY_AFTER_S: Final = 120.0
_MAX_MESSAGE: Final = 500
# What is searched for secrets, far beyond what is shown: a message may have 16 MB. A secret that
# the cut goes through would not be found, so what is just before the cut is dropped too.
_LOOKED_AT: Final = 64 * 1024
_BEFORE_CUT: Final = 256
# Of a type or code: what is wrong is with the account whose key we hold.
_OUR_ACCOUNT: Final = ("authentication", "permission", "billing", "api_key")


def http_failure(
    provider: str, status: int, headers: Mapping[str, str], body: bytes
) -> HeadwaterError:
    """The error that a response with this status, not 200, makes."""
    said = _message(_error(body))
    if 300 <= status < 400:
        return _final(f"{provider} answered with a redirect (HTTP {status}), which is refused.")
    if status in (401, 403):
        return refused_key(provider, status)
    if status == 402:
        return _final(f"{provider} wants the account topped up (HTTP 402).")
    if status == 429:
        text = f"{provider} limits the rate of requests{_colon(said)}"
        return UpstreamError("rate_limited", text, retry_after=retry_after(headers))
    if status == 404:
        return UpstreamError("model_not_found", f"{provider} answered HTTP 404{_colon(said)}")
    if status == 413:
        return UpstreamError("too_large", f"{provider} refused the request{_colon(said)}")
    if status in (408, 504):
        return UpstreamError("upstream_timeout", f"{provider} timed out (HTTP {status}).")
    if status < 500:
        return UpstreamError("invalid_request", f"{provider} refused the request{_colon(said)}")
    return UpstreamError(
        "upstream_error",
        f"{provider} failed (HTTP {status}){_colon(said)}",
        retry_after=retry_after(headers),
    )


class RefusedKeyError(UpstreamError):
    """The key that was refused is ours, not our caller's."""

    def __init__(self, message: str) -> None:
        super().__init__("upstream_error", message, retryable=False)

    def held_in(self, variable: str) -> RefusedKeyError:
        """The same, with where the key came from."""
        return RefusedKeyError(f"{self.message} It is the one in {variable}.")


def refused_key(provider: str, status: int) -> RefusedKeyError:
    """A provider's 401, and what else says the same."""
    return RefusedKeyError(f"{provider} refused the key it was sent (HTTP {status}).")


def stream_failure(provider: str, data: bytes) -> HeadwaterError:
    """The error that a message inside a stream with status 200 makes."""
    error = _error(data)
    text = f"{provider} failed{_colon(_message(error))}"
    kind = f"{error.get('type')} {error.get('code')} {error.get('status')}".lower()
    status = next(
        (v for v in (error.get("status_code"), error.get("code")) if type(v) is int), None
    )
    if status in (401, 402, 403) or any(word in kind for word in _OUR_ACCOUNT):
        return _final(f"{provider} refused the key it was sent.")
    if "rate_limit" in kind or "insufficient_quota" in kind or status == 429:
        return UpstreamError("rate_limited", text)
    if "not_found" in kind or status == 404:
        return UpstreamError("model_not_found", text)
    if "request_too_large" in kind or status == 413:
        return UpstreamError("too_large", text)
    if "invalid" in kind or status in (400, 422):
        return UpstreamError("invalid_request", text)
    if status in (408, 504) or "timeout" in kind:
        return UpstreamError("upstream_timeout", text)
    return UpstreamError("upstream_error", text)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from `retry-after-ms` or `retry-after` in seconds or as a date; capped."""
    value = headers.get("retry-after-ms")
    if value is not None and (milliseconds := _number(value)) is not None:
        return min(milliseconds / 1000, _MAX_RETRY_AFTER_S)
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is None:
        try:
            # A date is the one form that wants the wall clock.
            seconds = max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, TypeError, OverflowError):
            return None
    return min(seconds, _MAX_RETRY_AFTER_S)


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text.strip()) else None


def _error(body: bytes) -> dict[str, Any]:
    """The object that describes the error, whatever it is wrapped in; empty when there is none."""
    value = _value(body)
    if isinstance(value, list):  # Gemini wraps errors of its streams so
        value = value[0] if value else None
    if not isinstance(value, dict):
        return {}
    error = value.get("error", value)
    if error is value and isinstance(value.get("response"), dict):
        error = value["response"].get("error")
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _value(body: bytes) -> Any:
    """The JSON of a body, also where a character in it is broken; None when it is no JSON."""
    try:
        try:
            return msgspec.json.decode(body)
        except ValueError:  # msgspec's errors are, as UnicodeDecodeError is
            return json.loads(body.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None


def _message(error: dict[str, Any]) -> str:
    said = error.get("message")
    if not isinstance(said, str):
        return ""
    if len(said) > _LOOKED_AT:
        said = said[: _LOOKED_AT - _BEFORE_CUT]
    return printable(redact(said)[:_MAX_MESSAGE])


def _colon(said: str) -> str:
    return f": {said}" if said else "."


def _final(message: str) -> HeadwaterError:
    return UpstreamError("upstream_error", message, retryable=False)
