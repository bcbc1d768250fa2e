"""Node, as the tests find it."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


@functools.cache
def path_with_node() -> str:
    """`PATH` with the folder of Node and npm in front."""
    found = subprocess.run(
        [ROOT / "scripts" / "node"], capture_output=True, text=True, check=True, timeout=110
    )
    return f"{found.stdout.strip()}{os.pathsep}{os.environ['PATH']}"
