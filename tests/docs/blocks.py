"""The blocks of code in the documentation, as a reader would copy them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [
    *(
        ROOT / name
        for name in (
            "README.md",
            "PROTOCOL.md",
            "SECURITY.md",
            "ARCHITECTURE.md",
            "CONTRIBUTING.md",
        )
    ),
    ROOT / "deploy" / "README.md",
    ROOT / "js" / "client" / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    ROOT / "examples" / "README.md",
    *sorted(ROOT.glob("examples/*/README.md")),
]

#: What each block must say it is in, so that one of the tests here reads it.
LANGUAGES = {
    "python": "test_python.py",
    "js": "test_javascript.py",
    "ts": "test_javascript.py",
    "tsx": "test_javascript.py",
    "html": "test_javascript.py",
    "sh": "test_shell.py",
    "console": "test_shell.py",
    "toml": "test_blocks.py",
    "json": "test_blocks.py",
    "text": "output and drawings, which nothing reads",
}

_FENCE = re.compile(r"^( *)(`{3,})([a-z]*)(?: +title=\"([^\"]*)\")?$")


class Block(NamedTuple):
    """A block: where it stands, what it is in, the file it is said to be, and what it holds."""

    page: str
    line: int
    language: str
    title: str
    text: str

    @property
    def name(self) -> str:
        """A name for files and modules."""
        return re.sub(r"\W+", "_", f"{self.page.removesuffix('.md')}_{self.line}").lower()

    def __repr__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """Those in one of `languages`, or all."""
    found = (block for page in PAGES for block in _of_page(page))
    return [block for block in found if not languages or block.language in languages]


def _of_page(path: Path) -> Iterator[Block]:
    page = path.relative_to(ROOT).as_posix()
    opened: re.Match[str] | None = None
    began = 0
    lines: list[str] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if opened is None:
            assert not (line.lstrip().startswith("```") and not _FENCE.match(line)), (
                f"{page}:{number}: cannot be read as the beginning of a block: {line}"
            )
            opened, began, lines = _FENCE.match(line), number, []
        elif line.strip() == opened[2]:
            text = dedent("\n".join(lines)) + "\n"
            yield Block(page, began, opened[3], opened[4] or "", text)
            opened = None
        else:
            lines.append(line)
    assert opened is None, f"{page}:{began}: the block has no end"
