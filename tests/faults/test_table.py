"""README.md beside this file is true: every fault has a test, or a reason for having none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent


def rows() -> Iterator[tuple[int, list[str], str]]:
    for line in (HERE / "README.md").read_text().splitlines():
        if re.match(r"\| \d+ \|", line):
            number, _, elsewhere, missing = (cell.strip() for cell in line.strip("|").split("|"))
            yield int(number), re.findall(r"`([^`]+::[^`]+)`", elsewhere), missing


@cache
def names(path: Path) -> set[str]:
    return set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))


def proven_here() -> set[int]:
    found: set[int] = set()
    for path in HERE.glob("test_*.py"):
        for name in names(path):
            numbers = re.match(r"test_fault((?:_\d{2})+)_", name)
            if numbers is not None:
                found |= {int(number) for number in numbers[1].strip("_").split("_")}
    return found


def test_every_fault_has_a_row_in_order() -> None:
    assert [number for number, *_ in rows()] == list(range(1, 58))


def test_every_fault_has_a_test_or_a_reason() -> None:
    here = proven_here()
    assert [n for n, elsewhere, why in rows() if not (n in here or elsewhere or why)] == []


def test_every_test_that_is_named_is_there() -> None:
    for number, elsewhere, _ in rows():
        for test in elsewhere:
            path, _, name = test.partition("::")
            assert name in names(TESTS / path), (number, test)
