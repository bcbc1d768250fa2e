from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from tests.server.world import World, world


@pytest.fixture(scope="package")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server with nothing but defaults, and an upstream that a test plans."""
    with world(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.fixture
def many_files() -> Iterator[None]:
    """Sockets by the thousand, here and in the processes that are started from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
