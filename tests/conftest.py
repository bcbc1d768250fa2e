from __future__ import annotations

from collections.abc import Callable

import pytest

#: Notes one measured number under its name; shown before pytest's last lines.
Figures = Callable[[str, str], None]

_NOTED = pytest.StashKey[list[tuple[str, str]]]()


#: Folders whose tests run whole servers over real sockets: `make check` leaves them to `make test`.
_WHOLE = frozenset({"adapters", "faults", "server", "system", "testing", "upstream"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name in _WHOLE:
            item.add_marker(pytest.mark.system)


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
