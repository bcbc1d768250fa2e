"""Random requests over every POST route and every dialect: no 500, no traceback, no growth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Figures

pytestmark = pytest.mark.system

FUZZ = Path(__file__).parents[2] / "fuzz" / "request_bodies.py"


def fuzzed(figures: Figures, *arguments: str, timeout_s: float) -> None:
    done = subprocess.run(
        [sys.executable, str(FUZZ), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    requests, statuses = done.stdout.splitlines()
    figures(requests, statuses)


def test_a_sample(figures: Figures) -> None:
    """A turn of the loop is bounded at ten times what it may take on a machine that is quiet."""
    fuzzed(figures, "--count", "2000", "--seed", "1", "--turn-s", "1", timeout_s=110)


@pytest.mark.proof
@pytest.mark.timeout(7200)
def test_a_million(figures: Figures) -> None:
    fuzzed(figures, "--count", "1000000", "--seed", "2", timeout_s=7000)
