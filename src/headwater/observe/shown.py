"""Text from outside, made fit to be shown: in logs, on terminals, to callers."""

from __future__ import annotations

import json
import re
from typing import Final

#: Characters that a terminal obeys or that change what a line looks like: C0 and C1 controls but
#: tab and line feed, marks of direction, separators of lines, halves of characters.
CONTROL: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
# Keys as providers print them back ("Incorrect API key provided: sk-…").
_KEYS: Final = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|key)[-_][-_A-Za-z0-9*.]{3,}|\bAIza[-_A-Za-z0-9]{8,}|Bearer\s+\S+"
)
# A shorter one would stand in ordinary text.
_LEAST_SECRET: Final = 6

# Each secret of this process, with the forms in which JSON may hold it.
_secrets: dict[str, tuple[str, ...]] = {}


def keep_secret(value: str) -> None:
    """Let `redact` replace this value from now on."""
    if len(value) >= _LEAST_SECRET and value not in _secrets:
        escaped = json.dumps(value)[1:-1]
        forms = {value, escaped, escaped.replace("/", "\\/"), value.replace("/", "\\/")}
        _secrets[value] = tuple(sorted(forms, key=len, reverse=True))


def redact(text: str) -> str:
    """`text` without the secrets of this process, and without what looks like a key.

    Cut afterwards: of a key that was cut before, the rest would not be recognised.
    """
    for forms in _secrets.values():
        for form in forms:
            if form in text:
                text = text.replace(form, "[key]")
    return _KEYS.sub("[key]", text)


def printable(text: str, *, lines: bool = False) -> str:
    """`text` with its control characters written out; `lines` keeps tabs and line feeds."""
    text = CONTROL.sub(_written_out, text)
    return text if lines else text.replace("\n", "\\n").replace("\t", "\\t")


def printable_json(text: str) -> str:
    """JSON in which control characters are escaped, as JSON allows; it means the same."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code == 0x0D:
        return "\\r"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
