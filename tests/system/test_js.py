"""The checks of js/: format, types, tests, sizes, and that the built files are current."""

from __future__ import annotations

import subprocess

import pytest

from tests.helpers.node import ROOT, path_with_node
from tests.helpers.processes import environment

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.mark.parametrize("script", ["format:check", "types", "test", "size", "build:check"])
def test_js(script: str) -> None:
    """`cd js && npm run check build:check`, one script at a time, beside the other tests."""
    assert (ROOT / "js" / "node_modules").exists(), "js/ is not installed: cd js && npm ci"
    done = subprocess.run(
        ["npm", "run", "--silent", script],
        cwd=ROOT / "js",
        env=environment(PATH=path_with_node()),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout
