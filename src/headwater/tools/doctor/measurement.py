"""What one request brought, and when: the facts that are judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec


class Arrival(NamedTuple):
    """One event of the answer.

    `at` is in seconds from the request; `size` is the body up to its end, in bytes; `data` its
    JSON object, or None for anything else.
    """

    at: float
    size: int
    data: dict[str, Any] | None


class Tick(NamedTuple):
    """A tick of a probe: seconds by the sender's clock, and by ours; neither begins where the other
    does, so that only differences mean something. `size` as in `Arrival`.
    """

    sent: float
    arrived: float
    size: int


class Measurement(msgspec.Struct):
    """One answer. `ended` is how the body did: by its framing, by a cut, or because we left.

    `failure` says why there is no answer; then nothing else means anything.
    """

    failure: str = ""
    status: int = 0
    version: str = ""
    headers: Mapping[str, str] = {}
    arrivals: list[Arrival] = []
    ended: Literal["whole", "cut", "left"] = "left"
    end_at: float = 0.0
    refusal: str = ""  # the beginning of a body that is no stream

    @property
    def is_stream(self) -> bool:
        """Whether it is Server-Sent Events."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return self.status == 200 and kind == "text/event-stream"

    @property
    def encoding(self) -> str:
        """The compression of the body, or nothing."""
        coding = self.headers.get("content-encoding", "").strip().lower()
        return "" if coding == "identity" else coding

    @property
    def start(self) -> dict[str, Any] | None:
        """A probe's first event: what the server saw and sent."""
        return next(iter(self._of("probe-start")), None)

    @property
    def start_at(self) -> float:
        """When the first event was here; the end, where there is none."""
        return self.arrivals[0].at if self.arrivals else self.end_at

    @property
    def complete(self) -> bool:
        """Whether a probe's last event came."""
        return bool(self._of("probe-end"))

    @property
    def ticks(self) -> list[Tick]:
        """A probe's ticks."""
        return [
            Tick(arrival.data["at"] / 1000, arrival.at, arrival.size)
            for arrival in self.arrivals
            if arrival.data is not None and arrival.data.get("type") == "probe-tick"
        ]

    @property
    def pads(self) -> list[int]:
        """The lengths of the padding that came."""
        return [len(data.get("pad", "")) for data in self._of("probe-tick")]

    def _of(self, kind: str) -> list[dict[str, Any]]:
        found = (arrival.data for arrival in self.arrivals)
        return [data for data in found if data is not None and data.get("type") == kind]
