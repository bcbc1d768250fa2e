"""How a tape is played: how fast, and with which fault put in."""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

from headwater.errors import HeadwaterError, UpstreamError
from headwater.providers.failures import http_failure, stream_failure

#: Each fault, and what a reader sees of it.
FAULTS: Final = {
    "refuse": "fails before the first token, as with HTTP 503",
    "cut": "breaks off after N events: truncated",
    "error": "says after N events that it failed",
    "stall": "is silent after N events",
    "malformed": "sends what is not JSON after N events",
}
_FASTEST: Final = "max"
_SPEED: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,6})?", re.ASCII)
_COUNT: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


class WrongOption(ValueError):  # noqa: N818 - becomes an error where the option was given
    """An option is unknown or wrong; the message says what would be right."""


class Playing(msgspec.Struct, frozen=True):
    """`speed` 2 is twice as fast; `fault` of `FAULTS` comes after `after` events.

    A tape with fewer events than that has the fault in the place of its end.
    """

    speed: float = 1.0
    fault: str | None = None
    after: float = math.inf

    def failure(self, provider: str) -> HeadwaterError | None:
        """The end that the fault makes; None for a silence, which is no end."""
        match self.fault:
            case "refuse":
                return http_failure(provider, 503, {}, b"")
            case "cut":
                message = f"{provider} broke off before the end of the answer."
                return UpstreamError("truncated", message)
            case "error":
                return stream_failure(provider, b"")
            case "malformed":
                message = f"{provider} sent something that is not JSON."
                return UpstreamError("upstream_error", message)
        return None


def from_query(query: str) -> Playing:
    """Read options as they follow a model's name: `speed=4&cut=30`."""
    speeds: list[float] = []
    faults: list[tuple[str, float]] = []
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if name == "speed":
            speeds.append(speed(value))
        elif name in FAULTS:
            faults.append(fault(part))
        else:
            raise WrongOption(
                f"{name[:50]!r} is no option of a tape: there are speed and {', '.join(FAULTS)}"
            )
    if len(speeds) > 1:
        raise WrongOption("a tape has one speed")
    return playing(speeds[0] if speeds else 1.0, faults)


def playing(speed: float, faults: list[tuple[str, float]]) -> Playing:
    """Join what `speed` and `fault` have read."""
    if len(faults) > 1:
        raise WrongOption(f"a tape takes one fault, not {' and '.join(name for name, _ in faults)}")
    return Playing(speed, *faults[0]) if faults else Playing(speed)


def speed(text: str) -> float:
    """Read a speed: a number, or "max" for no waiting at all."""
    if text == _FASTEST:
        return math.inf
    if _SPEED.fullmatch(text) is None or not 0.01 <= float(text) <= 1000:
        raise WrongOption(f"speed must be a number from 0.01 to 1000, or max, not {text[:50]!r}")
    return float(text)


def fault(text: str) -> tuple[str, float]:
    """Read a fault, such as `cut=30` or `refuse`: its name, and the events before it."""
    name, equals, value = text.partition("=")
    if name not in FAULTS:
        raise WrongOption(f"there is no fault {name[:50]!r}: use one of {', '.join(FAULTS)}")
    if name == "refuse":
        if equals:
            raise WrongOption("refuse takes no number: nothing is played before it")
        return name, 0
    if _COUNT.fullmatch(value) is None:
        wants = f"{name} wants the number of events before it, such as {name}=30"
        raise WrongOption(wants + (f", not {value[:50]!r}" if value else ""))
    return name, int(value)
