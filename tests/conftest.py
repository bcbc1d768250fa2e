from __future__ import annotations

import gc
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.helpers.processes import HEADWATER, environment

_FIGURE = "figure"

#: Notes one measured number under its name; shown before pytest's last lines.
Figures = Callable[[str, str], None]


# A busy machine would fail an example that takes 0.2 s.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


# A shell starts its background jobs with SIGINT ignored, and programs that tests interrupt would
# inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Files with servers wait more than they compute: begun first, they overlap, and the short unit
    # tests fill the workers at the end.
    items.sort(key=lambda item: item.get_closest_marker("system") is None)


def pytest_collection_finish() -> None:
    # Tests that collect garbage would look through thousands of tests and their libraries.
    gc.collect()
    gc.freeze()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """One mebibyte; it can be filled."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    # With the test's report, so that they come from whichever process runs it.
    noted = request.node.user_properties
    return lambda name, value: noted.append((_FIGURE, (name, value)))


@pytest.fixture(scope="session")
def embedded() -> str:
    """The embedded model, fetched as a user fetches it; a matter of moments when it is there."""
    name = "smollm2-135m"
    pulled = subprocess.run(
        [HEADWATER, "models", "pull", name],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert pulled.returncode == 0, pulled.stderr
    return name


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    noted: list[tuple[str, str]] = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.when == "call":
                properties: list[tuple[str, Any]] = report.user_properties
                noted += [value for name, value in properties if name == _FIGURE]
    if noted:
        terminalreporter.section("figures")
        width = max(len(name) for name, _ in noted)
        for name, value in noted:
            terminalreporter.line(f"{name:<{width}}  {value}")
