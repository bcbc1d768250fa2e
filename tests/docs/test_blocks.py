"""Every block of code in the documentation is read by a test; settings and JSON are, here."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from headwater.settings import load
from tests.docs.blocks import LANGUAGES, ROOT, Block, blocks


def test_every_block_is_in_a_language_that_a_test_reads() -> None:
    unread = [f"{b!r} is in {b.language!r}" for b in blocks() if b.language not in LANGUAGES]
    assert unread == [], f"say one of {', '.join(LANGUAGES)}"
    assert len(blocks()) > 40


@pytest.mark.parametrize("block", blocks("toml"), ids=repr)
def test_settings_are_taken(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tomllib.loads(block.text)
    # A file of another program, or one that wants the package of an example, whose test loads it.
    if block.title or block.text in {path.read_text() for path in ROOT.glob("examples/*/*.toml")}:
        return
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tapes").mkdir()
    (tmp_path / "headwater.toml").write_text(block.text)
    load(environ={})


def test_json_is_json() -> None:
    for block in blocks("json"):
        json.loads(block.text)
