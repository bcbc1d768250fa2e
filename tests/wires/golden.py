"""Writes the golden frames of every wire anew: `python -m tests.wires.golden`. Read the difference."""

from __future__ import annotations

from pathlib import Path

from headwater import wires
from tests.wires.logs import EVERYTHING, frames

FOLDER = Path(__file__).parent / "golden"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for wire in wires.names():
        (FOLDER / f"{wire}.txt").write_bytes(b"".join(frames(wire, EVERYTHING)))


if __name__ == "__main__":
    main()
