"""The command lines of a block of shell, taken apart as a shell would."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from tests.docs.blocks import Block, blocks

# `&&`, `|`, `;` and brackets, alone or together.
_ENDS = re.compile(r"[&|;()]+")
_ASSIGNED = re.compile(r"[A-Z_][A-Z0-9_]*=.*", re.DOTALL)


class Line(NamedTuple):
    """One command: where it stands, the variables set for it, its words."""

    where: str
    variables: tuple[str, ...]
    words: tuple[str, ...]

    def __repr__(self) -> str:
        return f"{self.where} {' '.join(self.words)[:60]}"


def lines() -> list[Line]:
    """Every command of the documentation."""
    return [line for block in blocks("sh", "console") for line in _lines(block)]


def _lines(block: Block) -> Iterator[Line]:
    text = block.text
    if block.language == "console":  # the rest is what was printed
        text = "\n".join(re.findall(r"^\$ (.*)", text, re.MULTILINE))
    for command in _joined(text):
        yield from _commands(repr(block), command)


def _joined(text: str) -> Iterator[str]:
    """The lines, those that end in a backslash or within quotes with what follows."""
    held = ""
    for line in text.splitlines():
        held += line
        if held.endswith("\\"):
            held = held[:-1]
        elif _is_open(held):
            held += "\n"
        else:
            yield held
            held = ""
    assert not held, f"a command that does not end: {held}"


def _is_open(text: str) -> bool:
    try:
        _words(text)
    except ValueError:
        return True
    return False


def _commands(where: str, text: str) -> Iterator[Line]:
    words: list[str] = []
    for word in [*_words(text), ";"]:
        if not _ENDS.fullmatch(word):
            words.append(word)
            continue
        if ">" in words:
            words = words[: words.index(">")]
        named = next((n for n, w in enumerate(words) if not _ASSIGNED.fullmatch(w)), len(words))
        if words:
            yield Line(where, tuple(words[:named]), tuple(words[named:]))
        words = []


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)
