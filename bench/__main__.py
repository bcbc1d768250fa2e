"""`python -m bench`: measure every relay in turn, and write the page and the picture.

All samples are kept as JSON in the throw-away folder. The figures mean something only on a machine
that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from bench import memory
from bench.figures import Entry, Figures
from bench.load import Loader
from bench.machine import this_machine
from bench.peer import House, Missing
from bench.peers import RELAYS
from bench.peers.headwater import soaked
from bench.picture import picture
from bench.processes import allow_many_files
from bench.programs import compile_native, folder
from bench.report import page, summary
from bench.source import begin
from bench.turn import Turns

_DOCS: Final = Path(__file__).parent.parent / "docs"


def main(arguments: Sequence[str]) -> int:
    """The whole run; 1 when it cannot be done here at all."""
    options = _parser().parse_args(arguments)
    # Whoever ends the run ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    allow_many_files()
    root = folder()
    root.mkdir(parents=True, exist_ok=True)
    figures = Figures()
    rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as work, ExitStack() as stack:
        house = House(root, Path(work))
        try:
            loader = Loader(compile_native(house, "load"))
            source = begin(house, stack)
        except Missing as missing:
            print(f"make bench: {missing}", file=sys.stderr)
            return 1
        turns = Turns(figures, house, source, loader, options.quick)
        _install(figures, house, options.only)
        for turn in range(rounds):
            _round(turns, turn)
        if options.soak:
            turns.run(soaked(), 0, {"soak": partial(memory.soak, minutes=options.soak)})
    command = " ".join(["make bench", *([f"BENCH={shlex.join(arguments)!r}"] if arguments else [])])
    _write(figures, command, rounds, root / "quick" if options.quick else _DOCS)
    (root / "samples.json").write_text(json.dumps(figures.samples, indent=1))
    print(f"\nAll samples: {root / 'samples.json'}\nFor README.md:\n", file=sys.stderr)
    print(summary(figures), file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What a token costs.")
    parser.add_argument("--quick", action="store_true", help="a tenth of it, once; not to docs/")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each relay (%(default)s)")
    parser.add_argument(
        "--soak", type=float, nargs="?", const=10.0, metavar="MINUTES", help="also work for so long"
    )
    parser.add_argument("--only", nargs="+", default=[""], help="relays whose names have this")
    return parser


def _install(figures: Figures, house: House, only: Sequence[str]) -> None:
    for relay in RELAYS:
        if any(part.lower() in relay.name.lower() for part in only):
            try:
                figures.entries.append(Entry(relay, relay.install(house)))
            except Missing as missing:
                figures.entries.append(Entry(relay, "", str(missing)))
                print(f"{relay.name} is not run: {missing}", file=sys.stderr)


def _round(turns: Turns, turn: int) -> None:
    entries = turns.figures.entries
    for number, entry in enumerate(entries):
        if entry.missing:
            continue
        try:
            turns.run(entry.relay, turn, turns.steps(entry.relay))
        except Missing as missing:
            entries[number] = Entry(entry.relay, entry.versions, str(missing))
            print(f"{entry.relay.name} is not run: {missing}", file=sys.stderr)


def _write(figures: Figures, command: str, rounds: int, docs: Path) -> None:
    images = docs / "images"
    images.mkdir(parents=True, exist_ok=True)
    text = page(figures, this_machine(), command, rounds)
    (docs / "benchmarks.md").write_text(text)
    (images / "benchmarks.svg").write_text(picture(figures))
    print(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
