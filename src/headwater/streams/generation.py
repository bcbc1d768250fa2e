"""What a stream is begun with: who generates, and what the caller has asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from headwater.providers.base import Source
from headwater.stores.base import Spoken
from headwater.streams.ending import EndCallback
from headwater.streams.recovery import Recovery
from headwater.wires.base import OnDisconnect

#: Which deadlines may end a stream. "once begun": the source itself bounds its first token.
Timed = Literal["always", "once begun", "never"]


class Generation(msgspec.Struct, frozen=True):
    """Who generates: a source that has not begun, and what continues it where it breaks off.

    `route` is `provider/model`, None for a source of the app's.
    """

    source: Source
    model: str
    route: str | None = None
    recovery: Recovery | None = None
    timed: Timed = "always"


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller has asked for besides the text.

    `spoken` is the wire of the request, with its options; by its `label` a stream is found again;
    `metadata` is the app's and kept with the stream; `on_end` is called with the whole stream;
    `asked_at` is `time.monotonic()` when the request arrived, by default now.
    """

    principal: str | None
    on_disconnect: OnDisconnect
    spoken: Spoken | None = None
    label: str | None = None
    metadata: Mapping[str, str] | None = None
    on_end: EndCallback | None = None
    asked_at: float | None = None
