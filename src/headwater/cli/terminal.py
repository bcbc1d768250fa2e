"""What commands print: the one place where text reaches a terminal."""

from __future__ import annotations

import json
from typing import Any

import click

from headwater.observe.shown import printable, printable_json


def say(line: str = "", *, err: bool = False) -> None:
    """Print one line; whatever is in it, it stays one line, and a terminal obeys none of it."""
    click.echo(printable(line), err=err)


def say_json(value: Any, *, indent: int | None = None) -> None:
    """Print JSON; `value` is bytes or text of it, or what is to be encoded."""
    if isinstance(value, bytes):
        value = value.decode()
    text = value if isinstance(value, str) else json.dumps(value, indent=indent, ensure_ascii=False)
    click.echo(printable_json(text))
