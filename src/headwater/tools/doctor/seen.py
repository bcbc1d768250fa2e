"""Everything that was measured of one way, for the checks to judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headwater.tools.doctor import remedies
from headwater.tools.doctor.hops import Path
from headwater.tools.doctor.measurement import Measurement
from headwater.tools.doctor.report import Check, Status


class Seen(msgspec.Struct, frozen=True):
    """Everything that was measured of one way to a Headwater server.

    `plain`: ticks. `zipped`: with gzip accepted. `bare`, `bare_zipped`: without our headers against
    buffering, and `sized`, padded ticks: the latter where plain ones were held, the former where
    they were not. `twins`: one URL twice.
    """

    path: Path
    plain: Measurement
    zipped: Measurement
    bare: Measurement | None
    bare_zipped: Measurement | None
    sized: Measurement | None
    twins: tuple[Measurement, Measurement]
    large: Measurement
    body: Measurement
    silent: Measurement
    slow: Measurement
    idle_s: float
    lasting_s: float
    protocol: str
    url_host: str

    @property
    def start(self) -> Mapping[str, Any]:
        """What the server saw of the plain request, and what it answered."""
        return self.plain.start or {"request": {"headers": {}}, "response": {"headers": {}}}

    def found(self, name: str, status: Status, seen: str) -> Check:
        """A check that names the hop, and the line to change."""
        change = remedies.lines(self.path.names, name)
        return Check(name, status, seen, self.path.described, change)


def no_answer(name: str, measured: Measurement) -> Check:
    """The check of what was asked and not answered."""
    if measured.failure:
        why = measured.failure
    elif measured.status != 200:
        why = f"the answer was {measured.status}"
    elif not measured.is_stream:
        why = f"the answer was {measured.headers.get('content-type') or 'of no type'}"
    else:
        why = "the answer broke off before its first event"
    return Check(name, "not told", why)
