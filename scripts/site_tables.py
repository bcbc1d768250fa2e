"""A hook of MkDocs: what the code says of its settings and commands, where a page asks for it.

A page holds the comment `<!-- site: settings -->`, and the site what the code says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import cleandoc
from itertools import groupby
from typing import Final

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from headwater.cli import group
from headwater.settings import Documented, document


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what the page asks for."""
    for name, make in _MADE.items():
        comment = f"<!-- site: {name} -->"
        if comment in markdown:
            markdown = markdown.replace(comment, "\n".join(make()))
    return markdown


def _settings() -> Iterator[str]:
    for section, rows in groupby(document(), lambda row: row.section):
        yield from (f"## `[{section}]`", "")
        yield from ("| setting, variable | | default |", "|---|---|---|")
        yield from map(_setting, rows)
        yield ""


def _setting(row: Documented) -> str:
    default = f"`{row.default}`" if row.default else ""
    variable = f"`HEADWATER_{row.section}__{row.key}`".upper().replace(".", "__")
    kind = row.type.replace(" | ", ", ")
    return f"| `{row.key}`<br>{variable} | {_cell(row.sentence)} *{kind}* | {default} |"


def _cell(text: str) -> str:
    for written in ("<", "*", "_"):
        text = text.replace(written, f"\\{written}") if "`" not in text else text
    return text.replace("|", "\\|")


def _commands() -> Iterator[str]:
    yield from _command(group, "headwater", 2)


def _command(command: click.Command, path: str, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    if not isinstance(command, click.Group) or path != "headwater":
        yield from (f"{'#' * level} `{path}`", "", cleandoc(command.help or ""), "")
        pieces = " ".join(command.collect_usage_pieces(context))
        yield from ("```text", f"{path} {pieces}", "```", "")
        yield from _options(command, context)
        if command.epilog:
            yield from (command.epilog.replace("Example: ", "Example: `", 1) + "`", "")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                below = level if path == "headwater" else level + 1
                yield from _command(inner, f"{path} {name}", below)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    records = [
        record
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option)  # arguments are in the usage
        and "--help" not in parameter.opts
        and (record := parameter.get_help_record(context))
    ]
    if records:
        yield from ("| option | |", "|---|---|")
        for flags, words in records:
            yield f"| `{flags}` | {_cell(words)} |"
        yield ""


_MADE: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "settings": _settings,
    "commands": _commands,
}
