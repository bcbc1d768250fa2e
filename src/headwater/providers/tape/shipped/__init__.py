"""The tapes that come with the package, made by `scripts/tapes.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Where they are.
FOLDER: Final = Path(__file__).parent
