"""A hook of MkDocs: the repository's own files as pages, and the links between all of them.

README.md, PROTOCOL.md and their like stay where people look for them; links in all of them are
those that work beside the code. Here each becomes a page, each link to one of them a link to its
page, and a link to a file of code a page that shows that file.
"""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]

#: A file of the repository to its page. Those in docs/ are pages under their own name.
PAGES: Final = {
    "README.md": "overview.md",
    "PROTOCOL.md": "protocol.md",
    "SECURITY.md": "security.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "deploy/README.md": "deploy/files.md",
    "js/client/README.md": "client.md",
    "tests/faults/README.md": "faults/numbers.md",
    "examples/README.md": "examples/index.md",
}

_LINK: Final = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)(#[^)\s]*)?(?=\))")
_FENCE: Final = re.compile(r"^ *```")
_LANGUAGES: Final = {
    ".py": "python",
    ".vue": "html",
    ".svelte": "html",
    ".toml": "toml",
    ".html": "html",
    ".js": "js",
    ".jsx": "jsx",
    ".tsx": "tsx",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put a page for each example into the navigation."""
    [entries] = _found(config.nav, "Examples")
    entries += [page for source, page in _pages().items() if source not in PAGES]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for source, page in _pages().items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for source in sorted(_shown()):
        files.append(File.generated(config, _page_of_code(source), content=_code(source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links between files links between pages."""
    here = page.file.src_uri
    if here.startswith("code/"):
        return markdown
    source = _sources().get(here, f"docs/{here}")
    return _linked(markdown, lambda path: _target(source, here, path))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Docstrings announce a literal block by two colons."""
    return html.replace("<p>::</p>", "").replace("::</p>", ":</p>")


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Name the theme's one dialog, for those who hear it."""
    dialog = 'data-md-component="search" role="dialog"'
    return output.replace(dialog, f'{dialog} aria-label="Search"')


def _found(nav: Any, title: str) -> list[Any]:
    """What stands under `title`, at whatever depth."""
    if not isinstance(nav, list):
        return []
    sections = [item for entry in nav if isinstance(entry, dict) for item in entry.items()]
    below = [found for _, inner in sections for found in _found(inner, title)]
    return [inner for name, inner in sections if name == title] + below


def _pages() -> dict[str, str]:
    examples = sorted(ROOT.glob("examples/*/README.md"))
    return PAGES | {
        f"examples/{path.parent.name}/README.md": f"examples/{path.parent.name}.md"
        for path in examples
    }


def _sources() -> dict[str, str]:
    return {page: source for source, page in _pages().items()}


def _target(source: str, here: str, path: str) -> str:
    """The link to `path`, as it stands in the file `source`, on the page `here`."""
    wanted = normpath(join(dirname(source), path))
    if not (ROOT / wanted).exists():
        raise PluginError(f"{source} links to {path}, which does not exist")
    page = _pages().get(wanted)
    if (ROOT / wanted).is_dir():
        page = _pages().get(f"{wanted}/README.md")
    elif page is None:
        page = wanted.removeprefix("docs/") if wanted.startswith("docs/") else _page_of_code(wanted)
    if page is None:
        raise PluginError(f"{source} links to {path}, a folder without a README.md")
    return relpath(page, dirname(here) or ".")


def _page_of_code(source: str) -> str:
    return f"code/{source}.md"


def _shown() -> set[str]:
    """Every file of code that a page links to."""
    sources = [ROOT / source for source in _pages()] + sorted((ROOT / "docs").rglob("*.md"))
    found: set[str] = set()
    for path in sources:
        base = path.parent.relative_to(ROOT).as_posix()

        def note(link: str, base: str = base) -> str:
            wanted = normpath(join(base, link))
            if not wanted.startswith("docs/") and not wanted.endswith(".md"):
                found.add(wanted)
            return link

        _linked(path.read_text(), note)
    return {source for source in found if (ROOT / source).is_file()}


def _linked(markdown: str, change: Any) -> str:
    """The text with `change` applied to each relative link outside of blocks of code."""
    lines, in_block = [], False
    for line in markdown.split("\n"):
        fence = _FENCE.match(line) is not None
        in_block ^= fence
        if not in_block and not fence:
            line = _LINK.sub(lambda match: change(match[1]) + (match[2] or ""), line)
        lines.append(line)
    return "\n".join(lines)


def _code(source: str) -> str:
    path = ROOT / source
    language = _LANGUAGES.get(path.suffix, "text")
    hidden = "---\nsearch:\n  exclude: true\nhide:\n  - toc\n---\n"
    return f"{hidden}# `{source}`\n\n``````{language}\n{path.read_text()}``````\n"
