"""Headwater beside the relay that it replaces: both stream, and neither is longer than was said.

`WRITE_LINES=1` writes the table of docs/in-your-app.md anew.
"""

from __future__ import annotations

import ast
import io
import os
import re
import time
import tokenize
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

import pytest

from headwater.sse import Decoder
from headwater.testing import Answer, FaultyUpstream, chat, reply
from tests.helpers.arrivals import assert_one_by_one, request, token_times
from tests.helpers.examples import EXAMPLES
from tests.helpers.node import ROOT
from tests.helpers.servers import Server, gunicorn, uvicorn

pytestmark = pytest.mark.system

DOCUMENT: Final = ROOT / "docs" / "in-your-app.md"
RELAYS: Final = EXAMPLES / "relays"
TOKENS: Final = [f"token-{number}, " for number in range(6)] + ["天空 ", "🌊"]

#: The relay, the app that does the same, and what that has besides.
ROWS: Final = (
    ("Flask", "flask_relay", "flask_plain", "resume, stop; the page"),
    ("Flask, behind nginx", "flask_relay", "flask_nginx", "a page that stops, and goes on after a cut and a reload"),
    ("FastAPI", "fastapi_relay", "fastapi_react", "the same in React, and in every tab; all of Headwater's endpoints"),
)  # fmt: skip

HOSTS: dict[str, Callable[..., AbstractContextManager[Server]]] = {
    "flask_relay": lambda **kw: gunicorn("flask_relay:app", "--threads", "4", **kw),
    "fastapi_relay": lambda **kw: uvicorn("fastapi_relay:app", **kw),
}

_NO_CODE: Final = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
)


def lines_of_code(source: str) -> int:
    """Without blank lines, comments and docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (*_NO_CODE, tokenize.ENDMARKER):
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and ast.get_docstring(node) is not None:
                lines -= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return len(lines)


def test_what_counts_as_a_line() -> None:
    source = '"""Docs.\n\nMore.\n"""\n\n# why\nx = (\n    1,  # one\n)\n\n\ndef f():\n    """Docs."""\n    return """a\n\nb"""\n'
    assert lines_of_code(source) == 3 + 1 + 3


def test_no_app_is_longer_than_its_relay_and_the_table_says_so() -> None:
    rows = []
    for name, relay, app, besides in ROWS:
        theirs = lines_of_code((RELAYS / f"{relay}.py").read_text())
        ours = lines_of_code((EXAMPLES / app / "app.py").read_text())
        assert ours <= theirs, name
        links = f"[{theirs}](../examples/relays/{relay}.py) | [{ours}](../examples/{app}/app.py)"
        rows.append(f"| {name} | {links} | {besides} |\n")
    text = DOCUMENT.read_text()
    written = re.sub(r"(\|---\|---\|---\|---\|\n)(?:\|.*\n)*", rf"\1{''.join(rows)}", text)
    if os.environ.get("WRITE_LINES"):
        DOCUMENT.write_text(written)
    assert DOCUMENT.read_text() == written


@pytest.mark.parametrize("relay", HOSTS)
def test_the_relay_streams(relay: str) -> None:
    answers: list[Answer] = [chat(TOKENS, gap_s=0.1), reply(400, {"error": {"message": "no"}})]
    with FaultyUpstream(lambda asked: answers.pop(0)) as upstream:
        environ = {"OPENAI_BASE_URL": upstream.url, "OPENAI_API_KEY": "none"}
        with HOSTS[relay](cwd=RELAYS, environ=environ) as server:
            arrived, told = [], b""
            decoder = Decoder()
            for part in request(server.port, "/stream", {"prompt": "tokens"}):
                now = time.monotonic()
                arrived += [now for message in decoder.feed(part) if b'"token"' in message.data]
            sent = token_times(upstream)
            assert_one_by_one(arrived, sent)
            told = b"".join(request(server.port, "/stream", {"prompt": "broken"}))
            assert re.fullmatch(rb'data: {"error": ".*no.*"}\n\ndata: \[DONE\]\n\n', told), told
