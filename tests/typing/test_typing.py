"""The types are those that users' checkers see: pyright's here, mypy's in `make check`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.node import ROOT, path_with_node
from tests.helpers.processes import environment

pytestmark = pytest.mark.system

HERE = Path(__file__).parent
PYRIGHT = ROOT / "js" / "node_modules" / ".bin" / "pyright"


def test_pyright_agrees_with_mypy() -> None:
    checked = subprocess.run(
        [PYRIGHT, "-p", HERE, "--pythonpath", sys.executable],
        env=environment(PATH=path_with_node()),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 errors" in checked.stdout
