"""Everything that can go wrong, as one tree.

::

    HeadwaterError                  code, message, status, retryable, param, retry_after
    ├── ConfigurationError          a setting is wrong; raised before anything is served
    ├── RequestError                the caller's request cannot be served as it is (4xx)
    ├── UpstreamError               the provider failed, refused or was cut (502, 504)
    ├── UnavailableError            we cannot take the work now (503)
    ├── StorageError                what could not be stored was not delivered
    └── StoppedError                nobody wants the rest of what is being written

Errors of other libraries are translated into this tree where that library is called, and nowhere
else. A message is safe to show to a caller: it holds no key, no prompt and no upstream body.
"""

from __future__ import annotations

from typing import Final

#: HTTP status of each code. PROTOCOL.md has the same table for readers.
STATUS: Final = {
    "invalid_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "model_not_found": 404,
    "idempotency_conflict": 409,
    "position_lost": 409,
    "trimmed": 410,
    "too_large": 413,
    "rate_limited": 429,
    "internal": 500,
    "truncated": 502,
    "interrupted": 502,
    "upstream_error": 502,
    "provider_not_configured": 503,
    "overloaded": 503,
    "store_unavailable": 503,
    "storage_failed": 503,
    "stop_unconfirmed": 503,
    "upstream_timeout": 504,
}

#: Codes after which the same request may succeed without being changed.
RETRYABLE: Final = frozenset(
    {
        "rate_limited",
        "truncated",
        "interrupted",
        "upstream_error",
        "upstream_timeout",
        "overloaded",
        "store_unavailable",
        "storage_failed",
        "stop_unconfirmed",
    }
)


class HeadwaterError(Exception):
    """An error a caller may see.

    `code` is one of `STATUS`; `status` is its HTTP status; `retryable` says whether the same
    request may succeed later; `param` names the member of the request that is wrong; `retry_after`
    is in seconds.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = STATUS[code]
        self.retryable = code in RETRYABLE if retryable is None else retryable
        self.param = param
        self.retry_after = retry_after


def error_told(code: object, message: str, *, retryable: bool | None = None) -> HeadwaterError:
    """The error that a server or a log tells of, which may be of another version than this one.

    A code that is not known here is named by the message of an `upstream_error`. `retryable` None:
    as the code says.
    """
    if isinstance(code, str) and code in STATUS:
        return HeadwaterError(code, message, retryable=retryable)
    return HeadwaterError("upstream_error", f"{message} ({code!r:.50})", retryable=retryable)


class ConfigurationError(HeadwaterError):
    """A setting is unknown, of the wrong type, or contradicts another."""

    def __init__(self, message: str) -> None:
        super().__init__("internal", message)


class RequestError(HeadwaterError):
    """The request is wrong; the message names what is wrong and what would be right."""

    def __init__(
        self, message: str, *, code: str = "invalid_request", param: str | None = None
    ) -> None:
        super().__init__(code, message, param=param)


class UpstreamError(HeadwaterError):
    """The provider failed, refused, fell silent or was cut."""


class UnavailableError(HeadwaterError):
    """The work cannot be taken on now; the message names the remedy."""


class StorageError(HeadwaterError):
    """The log could not be written or read."""


class StoppedError(HeadwaterError):
    """Whoever writes a stream may leave off: it was stopped, or nobody reads it any more."""

    def __init__(self) -> None:
        super().__init__("interrupted", "The stream was stopped.")
