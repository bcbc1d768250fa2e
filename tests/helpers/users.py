"""Other users of this machine. Only root can be one of them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.serving import Answer

#: A user that Debian has, and as which its web servers run.
OTHER = "www-data"

#: A user is asked of the kernel, so the tests have to be of one that may be another.
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


def as_user(user: str | None) -> dict[str, Any]:
    """What makes `subprocess` run a command as `user`."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's are closed to others than its own user."""
    with tempfile.TemporaryDirectory(prefix="headwater-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def ask_as(user: str, url: str, *options: str) -> Answer:
    """What `curl` of another user is answered."""
    ran = subprocess.run(
        ["curl", "-sS", "-i", "--max-time", "20", *options, url],
        capture_output=True,
        check=True,
        cwd="/",
        timeout=30,
        **as_user(user),
    )
    head, _, body = ran.stdout.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    return Answer(int(first.split()[1]), headers, body)
