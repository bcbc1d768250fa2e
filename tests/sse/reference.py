"""The event stream interpretation of the WHATWG HTML standard, section 9.2.6, word for word.

Slow on purpose: it wants the whole stream as one string, so that there is nothing in it about
chunks that could be wrong. The decoder is compared with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass
class Interpretation:
    """What a stream means, and what its end left pending."""

    messages: list[tuple[str, str, str]] = field(default_factory=list)  # data, event, id
    pending: tuple[str, str, str] | None = None
    comments: int = 0
    last_event_id: str = ""
    retry: int | None = None


class _Source:
    def __init__(self) -> None:
        self.out = Interpretation()
        self.data = ""
        self.event_type = ""
        self.id_buffer = ""

    def line(self, line: str) -> None:
        if line == "":
            self.dispatch()
        elif line.startswith(":"):
            self.out.comments += 1
        elif ":" in line:
            name, value = line.split(":", 1)
            if value.startswith(" "):
                value = value[1:]
            self.process(name, value)
        else:
            self.process(line, "")

    def process(self, name: str, value: str) -> None:
        if name == "event":
            self.event_type = value
        elif name == "data":
            self.data += value
            self.data += "\n"
        elif name == "id":
            if "\0" not in value:
                self.id_buffer = value
        # The standard has no longest number; ours is what no clock of milliseconds can exceed.
        elif name == "retry" and re.fullmatch("[0-9]{1,20}", value):
            self.out.retry = int(value, 10)

    def dispatch(self) -> None:
        self.out.last_event_id = self.id_buffer
        if self.data == "":
            self.event_type = ""
            return
        data = self.data.removesuffix("\n")
        self.out.messages.append((data, self.event_type or "message", self.id_buffer))
        self.data = ""
        self.event_type = ""


def interpret(stream: bytes) -> Interpretation:
    """What `stream` means. `pending` is the event that only its missing blank line kept back."""
    text = stream.decode("utf-8", errors="replace").removeprefix("\ufeff")
    source = _Source()
    *lines, rest = re.split("\r\n|\n|\r", text)
    for line in lines:
        source.line(line)
    out, seen = source.out, len(source.out.messages)
    last_id, comments, retry = out.last_event_id, out.comments, out.retry
    if rest:
        source.line(rest)
    source.dispatch()
    out.pending = out.messages[seen] if len(out.messages) > seen else None
    del out.messages[seen:]
    out.last_event_id, out.comments, out.retry = last_id, comments, retry
    return out
