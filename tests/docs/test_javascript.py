"""The JavaScript in the documentation, type-checked against the client; pages, parsed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from headwater import playground
from tests.docs.blocks import ROOT, Block, blocks

CLIENT = ROOT / "js" / "client" / "src"
SERVED = {
    "/headwater.js": "index",
    "/headwater-tabs.js": "tabs",
    "/headwater-element.js": "element",
}
PARTS = ("tabs", "react", "element", "ai-sdk")
VOID = {"link", "meta", "input", "br", "img"}

CONFIG = {
    "extends": str(ROOT / "js" / "tsconfig.base.json"),
    "compilerOptions": {
        "jsx": "react-jsx",
        "allowJs": True,
        "checkJs": True,
        "noUnusedLocals": False,
        "noUnusedParameters": False,
        "noImplicitAny": False,  # a page's own script has no types
        "types": ["node", "react"],
        "paths": {
            "@headwater/client": [str(CLIENT / "index.ts")],
            **{f"@headwater/client/{part}": [str(CLIENT / f"{part}.ts")] for part in PARTS},
            **{
                f"{mounted}{url}": [str(CLIENT / f"{part}.ts")]
                for url, part in SERVED.items()
                for mounted in ("", "/ai")
            },
        },
    },
    "include": ["*"],
}


class Page(HTMLParser):
    """A page: what is open, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        source = dict(attrs).get("src")
        if tag == "script" and source:
            self.loaded.append(source)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID, f"<{tag} /> has no end"

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"] and data.strip():
            self.scripts.append(data)


def scripts() -> Iterator[tuple[str, str]]:
    """Each script of the documentation: a file's name and what it holds."""
    for block in blocks("js", "ts", "tsx"):
        yield f"{block.name}.{block.language}", block.text
    for block in blocks("html"):
        for number, script in enumerate(Page(block.text).scripts):
            yield f"{block.name}_{number}.js", script


@pytest.mark.parametrize("block", blocks("html"), ids=repr)
def test_a_page_is_whole_and_loads_what_is_served(block: Block) -> None:
    page = Page(block.text)
    assert page.open == []
    folder = Path(playground.__file__).parent
    assert all(
        (folder / source.removeprefix("/ai").removeprefix("/")).is_file() for source in page.loaded
    )


@pytest.mark.system
def test_the_types_are_right(tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to((ROOT / "js" / "node_modules").resolve())
    for declared in Path(__file__).parent.glob("*.d.ts"):
        (tmp_path / declared.name).write_text(declared.read_text())
    (tmp_path / "tsconfig.json").write_text(json.dumps(CONFIG))
    for name, text in scripts():
        # A module of its own, whatever it imports.
        (tmp_path / name).write_text(f"{text}\nexport {{}};\n")
    node = subprocess.run(
        [ROOT / "scripts" / "node"], capture_output=True, text=True, timeout=100, check=True
    )
    checked = subprocess.run(
        ["node", ROOT / "js" / "node_modules" / "typescript" / "bin" / "tsc", "-p", tmp_path],
        env=os.environ | {"PATH": f"{node.stdout.strip()}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
