"""`make demo` as somebody who has just cloned the repository runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.arrivals import events, request, status
from tests.helpers.processes import line_matching, stopped_at_the_end

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
#: As root: no network but a loopback of its own.
ALONE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


@contextmanager
def demo(clone: Path, home: Path, *before: str, network: bool) -> Iterator[int]:
    """Run `make demo` and give its port."""
    keep = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), **(keep if network else {})}
    process = subprocess.Popen(
        [*before, "make", "demo", "PORT=0"],
        cwd=clone,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with stopped_at_the_end(process):
        yield int(line_matching(process, r"listening on http://127.0.0.1:(\d+)", 300)[1])


def this_tree(clone: Path) -> None:
    """Clone the repository, with what is not committed yet."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    command = ["git", "ls-files", "-z", "--modified", "--others", "--exclude-standard"]
    changed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    for name in filter(None, changed.decode().split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)


def test_a_fresh_clone_streams_and_starts_again_without_network(tmp_path: Path) -> None:
    clone, home = tmp_path / "clone", tmp_path / "home"
    home.mkdir()
    this_tree(clone)
    with demo(clone, home, network=True) as port:
        assert status(port, "/readyz") == 200
        assert status(port, "/") == 200
        pieces = [data for _, data in events(request(port, "/stream", {"prompt": "Say hello."}))]
        assert pieces
        assert all("token" in piece for piece in pieces), json.dumps(pieces)
    began = time.monotonic()
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0:
        # Its loopback is not ours: that it listens is what can be seen from here.
        with demo(clone, home, *ALONE, network=False):
            pass
    else:
        with demo(clone, home, "env", "PIP_NO_INDEX=1", network=False) as port:
            assert status(port, "/readyz") == 200
    assert time.monotonic() - began < 30
