from __future__ import annotations

from pathlib import Path

import pytest

from tests.stores.backends import Backend, Make


@pytest.fixture
def make(backend: Backend, tmp_path: Path) -> Make:
    """Stores at one empty place."""
    return backend.place(tmp_path)
