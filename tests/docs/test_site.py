"""The documentation site: built with warnings as errors, whole, and loading nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest

from headwater.cli import COMMANDS
from headwater.events import Event
from headwater.settings import document

# A program of its own, and what it takes is not for a check of under a minute.
pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
#: What makes a browser fetch something by itself.
LOADS = {"img": "src", "script": "src", "iframe": "src", "source": "src", "link": "href"}
#: Those that only tell of the page.
TELLS = {"canonical", "next", "prev", "alternate"}


class Html(HTMLParser):
    """The links, anchors and loaded files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        if (address := given.get(LOADS.get(tag, ""))) and given.get("rel") not in TELLS:
            self.loaded.add(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    # Not with --quiet: it does not hear of warnings then, and they do not count.
    said = built.stdout + built.stderr
    assert built.returncode == 0, said
    assert "Documentation built" in said
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Html]:
    return {
        path.relative_to(site).as_posix(): Html(path.read_text()) for path in site.rglob("*.html")
    }


def internal(pages: dict[str, Html], which: str) -> Iterator[tuple[str, str, str]]:
    """Each page, and what it links to or loads in the site: the file and the anchor."""
    for name, page in pages.items():
        for address in getattr(page, which):
            if not re.match(r"[a-z]+:|//", address):
                # That of an unknown address has no place of its own: its links begin at the root.
                target, anchor = urldefrag(urljoin(f"/{name}", address))
                yield name, unquote(target).removeprefix("/"), unquote(anchor)


def test_every_link_has_its_page_and_its_anchor(site: Path, pages: dict[str, Html]) -> None:
    broken = [
        f"{name}: {target}#{anchor}"
        for name, target, anchor in internal(pages, "links")
        if not (site / target).exists()
        or (anchor and target in pages and anchor not in pages[target].anchors)
    ]
    assert broken == []


def test_nothing_is_loaded_from_another_host(site: Path, pages: dict[str, Html]) -> None:
    foreign = {a for page in pages.values() for a in page.loaded if re.match(r"[a-z]+:|//", a)}
    assert {address for address in foreign if not address.startswith("data:")} == set()
    missing = [t for _, t, _ in internal(pages, "loaded") if not (site / t).exists()]
    assert missing == []
    for style in site.rglob("*.css"):
        assert (
            re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^\"')]*", style.read_text()) == []
        )


def test_every_setting_and_every_command_is_there(site: Path) -> None:
    settings, commands = ((site / f"{n}.html").read_text() for n in ("configuration", "cli"))
    for row in document():
        variable = f"HEADWATER_{row.section}__{row.key}".upper().replace(".", "__")
        assert f"<code>{variable}</code>" in settings
    for name in COMMANDS:
        assert f"<code>headwater {name}</code>" in commands


def test_every_event_shows_how_it_is_made(site: Path) -> None:
    page = re.sub(r"<[^>]*>", "", (site / "reference" / "events.html").read_text())
    for event in Event.__args__:
        for field in event.__struct_fields__:
            made = re.search(rf"\b{event.__name__}\s*\(([^¶]*?)\n?\)", page)
            assert made is not None, event
            assert f"{field}:" in made[1], event


def test_the_search_knows_every_page(site: Path) -> None:
    index = (site / "search" / "search_index.json").read_text()
    for page in ("protocol.html", "stores.html", "configuration.html", "client.html"):
        assert f'"{page}"' in index
