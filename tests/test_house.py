"""The shape of the package: floors, loose files, and what stays inside its room."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "headwater"
MOST_FLOORS = 9
MOST_LOOSE_FILES = 6


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path) -> set[str]:
    """What a module imports of the package, in functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in modules() else node.module for name in inner}
    return names & set(modules())


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "headwater"


@cache
def below() -> dict[str, set[str]]:
    """The rooms that each room imports."""
    rooms: dict[str, set[str]] = {}
    for module, path in modules().items():
        mine = rooms.setdefault(room(module), set())
        mine |= {room(name) for name in imported(path)} - {room(module)}
    return rooms


def floor(name: str, above: tuple[str, ...] = ()) -> int:
    assert name not in above, f"a circle: {' -> '.join((*above, name))}"
    return 1 + max((floor(other, (*above, name)) for other in below()[name]), default=0)


def layers() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [contract] = settings["tool"]["importlinter"]["contracts"]
    return [name for layer in contract["layers"] for name in layer.split(" | ")]


def test_few_floors_without_a_circle() -> None:
    assert max(map(floor, below())) <= MOST_FLOORS


def test_few_loose_files() -> None:
    loose = [path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"]
    assert len(loose) <= MOST_LOOSE_FILES, loose


def test_the_linter_and_the_table_of_rooms_name_every_room_in_one_order() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    table = re.findall(r"^\| `(\w+)/?` \|", text.partition("## How to add")[0], re.MULTILINE)
    assert table == layers()
    assert set(table) == set(below()) - {"headwater", "playground"}


@pytest.mark.parametrize("pattern", [r"wire\.name ==", r"\bWIRES\["])
def test_only_wires_know_one_wire_from_another(pattern: str) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in modules().values()
        if PACKAGE / "wires" not in path.parents
        for line in path.read_text().splitlines()
        if re.search(pattern, line)
    ]
    assert found == []


def test_no_public_signature_has_an_untyped_tuple() -> None:
    found = []
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
                signature = ast.unparse(node.args) + ast.unparse(node.returns or ast.Constant(0))
                if "tuple[Any" in signature:
                    found.append(f"{path.relative_to(PACKAGE)}: {node.name}")
    assert found == []


@pytest.mark.parametrize("what", ["a wire", "a dialect", "a store", "a command", "a host"])
def test_how_to_add_names_few_files_that_are_there(what: str) -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    (row,) = re.findall(rf"^\| {what} \| (.*) \|$", text, re.M)
    paths = [path for path in re.findall(r"`([\w/.]+)`", row) if "/" in path]
    assert 1 <= len(paths) <= 4, row
    for path in paths:
        root = ROOT if path.startswith(("tests/", "js/")) else PACKAGE
        at = root / (path.partition("NAME")[0].rstrip("/") if "NAME" in path else path)
        assert at.exists(), path
