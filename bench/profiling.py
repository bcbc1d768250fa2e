"""`python -m bench.profiling`: where Headwater's time goes: bursts, at a pace, at its start.

py-spy looks at the running server from outside, so that what it shows is what was measured.
"""

from __future__ import annotations

import collections
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.figures import Figures
from bench.load import Loader, Shape
from bench.peer import House, Missing
from bench.peers.headwater import HeadwaterRelay
from bench.processes import allow_many_files
from bench.programs import bin_of, compile_native, folder, install_python, output
from bench.source import begin
from bench.trial import Trial
from bench.turn import Turns

_RATE: Final = 500
_SECONDS: Final = 6
_FUNCTIONS: Final = 22
_MODULES: Final = 18
_TIMES: Final = 7
#: The streams of the tables, for longer than the sampling.
_PROFILED: Final = {
    "burst-200": Shape(100_000, 16, 0, 200, limit_s=_SECONDS + 3),
    "paced-60-20": Shape(100_000, 500, 166, 60, limit_s=_SECONDS + 4),
}
_SERVE: Final = ("-c", "from headwater.cli import main; main()", "serve", "--port", "0")


def main() -> int:
    """Print it all; 1 when it cannot be done here."""
    allow_many_files()
    root = folder()
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as work, ExitStack() as stack:
        house = House(root, Path(work))
        try:
            _starts(house)
            install_python(house, "profiler", [])
            loader = Loader(compile_native(house, "load"))
            turns = Turns(Figures(), house, begin(house, stack), loader, quick=False)
            with turns.started(HeadwaterRelay("memory", "plain")) as trial:
                for model, shape in _PROFILED.items():
                    _profile(house, trial, model, shape)
        except Missing as missing:
            print(f"make bench-profile: {missing}", file=sys.stderr)
            return 1
    return 0


def _profile(house: House, trial: Trial, model: str, shape: Shape) -> None:
    """Sample the server while it works; each function's share in microseconds a token."""
    if trial.program is None:
        return
    raw = house.work / f"{model}.txt"
    command = [bin_of(house, "profiler", "py-spy"), "record", "--pid", str(trial.program.pid)]
    command += [
        "--nonblocking",
        "--format",
        "raw",
        "--rate",
        str(_RATE),
        "--duration",
        str(_SECONDS),
    ]
    failed: list[Missing] = []

    def sample() -> None:
        time.sleep(1.5)  # the first streams connect
        try:
            output([*command, "--output", str(raw)])
        except Missing as missing:
            failed.append(missing)

    sampler = threading.Thread(target=sample)
    before = trial.cpu_s()
    sampler.start()
    load = trial.load("plain", model, shape)
    cost = (trial.cpu_s() - before) / max(1, load.tokens) * 1e6
    sampler.join()
    if failed:
        raise failed[0]
    print(f"\n{model}: {load.tokens / load.seconds:,.0f} tokens/s, {cost:.1f} µs CPU a token\n")
    own, whole, samples = _functions(raw)
    print(f"{'own':>7} {'µs/token':>9} {'with callees':>13}   function")
    for function, count in own.most_common(_FUNCTIONS):
        share = count / samples
        print(f"{share:7.1%} {share * cost:9.2f} {whole[function] / samples:13.1%}   {function}")


def _functions(
    raw: Path,
) -> tuple[collections.Counter[str], collections.Counter[str], int]:
    """From collapsed stacks: samples on top, samples anywhere in the stack, samples in all."""
    own: collections.Counter[str] = collections.Counter()
    whole: collections.Counter[str] = collections.Counter()
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        # `function (file:line)`: lines of one function are one.
        functions = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
        own[functions[-1]] += int(count)
        for function in set(functions):
            whole[function] += int(count)
    return own, whole, max(1, own.total())


def _starts(house: House) -> None:
    """How long the start takes, and which imports it goes to."""
    imports = [_seconds([sys.executable, "-c", "import headwater"]) for _ in range(_TIMES)]
    bare = [_seconds([sys.executable, "-c", ""]) for _ in range(_TIMES)]
    library = [
        _seconds([sys.executable, "-c", "from headwater import Headwater"]) for _ in range(_TIMES)
    ]
    ready = [_ready(house.scratch("serve")) for _ in range(_TIMES)]
    for what, times in {
        "python, nothing else": bare,
        "import headwater": imports,
        "from headwater import Headwater": library,
        "headwater serve, until it listens": ready,
    }.items():
        print(f"{statistics.median(times):7.3f} s  {what} (median of {_TIMES})")
    print(f"\n{'own ms':>7} {'with imports':>13}   module, of `headwater serve`")
    for own, whole, module in sorted(_imports(house), reverse=True)[:_MODULES]:
        print(f"{own / 1000:7.1f} {whole / 1000:13.1f}   {module}")


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    output(command)
    return time.perf_counter() - began


def _ready(cwd: Path, *options: str) -> float:
    """From the start of `headwater serve` to its line that says it listens."""
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *options, *_SERVE],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=(cwd / "stderr").open("w"),
        text=True,
    ) as server:
        said = server.stdout.readline() if server.stdout else ""
        took = time.perf_counter() - began
        server.terminate()
    if "listening" not in said:
        raise Missing(f"headwater serve does not start: {(cwd / 'stderr').read_text()[-200:]}")
    return took


def _imports(house: House) -> list[tuple[int, int, str]]:
    """Own and whole microseconds of each module that the server imports before it listens."""
    cwd = house.scratch("imports")
    _ready(cwd, "-X", "importtime")
    found = re.findall(
        r"^import time:\s+(\d+) \|\s+(\d+) \|\s+(\S+)", (cwd / "stderr").read_text(), re.M
    )
    return [(int(own), int(whole), module) for own, whole, module in found]


if __name__ == "__main__":
    sys.exit(main())
