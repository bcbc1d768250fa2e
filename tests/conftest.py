from __future__ import annotations

from collections.abc import Callable

import pytest

#: Notes one measured number under its name; shown before pytest's last lines.
Figures = Callable[[str, str], None]

_NOTED = pytest.StashKey[list[tuple[str, str]]]()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    noted = pytestconfig.stash.setdefault(_NOTED, [])
    return lambda name, value: noted.append((name, value))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    noted = config.stash.get(_NOTED, [])
    if noted:
        terminalreporter.section("figures")
        width = max(len(name) for name, _ in noted)
        for name, value in noted:
            terminalreporter.line(f"{name:<{width}}  {value}")
