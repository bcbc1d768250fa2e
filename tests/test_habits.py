"""What every test keeps to."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent
#: A longer wait is for a condition: `tests.helpers.polling` has the helper.
LONGEST_S = 0.2


def long_sleeps(text: str) -> list[int]:
    """The lines of fixed sleeps above `LONGEST_S` that do not say why in a comment."""
    tree, lines = ast.parse(text), text.splitlines()
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    if "tests.helpers.clock" in modules:  # its loop passes time in no time
        return []
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] == "sleep"
        and node.args
        and isinstance(seconds := node.args[0], ast.Constant)
        and isinstance(seconds.value, int | float)
        and seconds.value > LONGEST_S
        and "  # " not in lines[node.lineno - 1]
    ]


def test_no_fixed_sleep_is_long_without_a_reason() -> None:
    assert long_sleeps("time.sleep(1)\ntime.sleep(1)  # the stall\nsleep(0.2)") == [1]
    found = {
        f"{path.relative_to(TESTS)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        for line in long_sleeps(path.read_text())
    }
    assert found == set()
