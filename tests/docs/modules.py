"""Blocks of Python as modules: with what they take from earlier blocks and from the reader's app."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.docs.blocks import Block, blocks

#: What a reader has in an app of his own, where a block uses it without saying so.
NAMES = Path(__file__).with_name("names.py")


def modules() -> dict[Block, str]:
    """The source of a module for each block."""
    given = ast.parse(NAMES.read_text()).body
    earlier: dict[str, list[ast.stmt]] = {}
    made: dict[Block, str] = {}
    for block in blocks("python"):
        before = earlier.setdefault(block.page, [])
        tree = ast.parse(block.text, block.name)
        needed = list(_needed(tree.body, [*given, *before]))
        made[block] = _source(needed, tree)
        before += tree.body
    return made


def _source(needed: list[ast.stmt], tree: ast.Module) -> str:
    # `from __future__` of the block must stay the first statement.
    future = [s for s in tree.body if isinstance(s, ast.ImportFrom) and s.module == "__future__"]
    rest = [statement for statement in tree.body if statement not in future]
    return "\n".join(map(ast.unparse, [*future, *needed, *rest])) + "\n"


def _needed(body: list[ast.stmt], offered: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Those of `offered`, in their order, that bind what `body` uses and does not bind itself.

    Of two that bind the same name the later one is taken, and what it uses in its turn.
    """
    wanted = used(body) - bound(body)
    taken: list[ast.stmt] = []
    for statement in reversed(offered):
        names = bound([statement])
        if names & wanted:
            taken.append(statement)
            wanted = (wanted - names) | used([statement])
    return reversed(taken)


def used(body: Iterable[ast.stmt]) -> set[str]:
    """Names that are read anywhere in `body`."""
    nodes = (node for statement in body for node in ast.walk(statement))
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def bound(body: Iterable[ast.stmt]) -> set[str]:
    """Names that `body` gives a value to at its top level, and parameters within it."""
    names: set[str] = set()
    for statement in body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            names |= {(name.asname or name.name).split(".")[0] for name in statement.names}
        elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(statement.name)
        else:
            stored = (n for n in ast.walk(statement) if isinstance(n, ast.Name))
            names |= {n.id for n in stored if isinstance(n.ctx, ast.Store)}
    return names
