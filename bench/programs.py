"""Brings programs here: compiles the two in C, installs the peers into the throw-away folder.

Versions are pinned in `peers/packages`; what was installed from the same pins is not done again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.peer import House, Missing

HERE: Final = Path(__file__).parent
APPS: Final = HERE / "peers" / "apps"
_NATIVE: Final = HERE / "native"
_PACKAGES: Final = HERE / "peers" / "packages"
_SYSTEM_PATH: Final = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
# npm and pip retry by themselves; beyond this they hang.
_INSTALL_S: Final = 900


def folder() -> Path:
    """Where all of it is kept; deleting it costs a few minutes."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "headwater" / "bench"


def compile_native(house: House, name: str) -> Path:
    """The program made of `native/NAME.c`."""
    compiler = next((found for cc in ("cc", "gcc", "clang") if (found := shutil.which(cc))), None)
    if compiler is None:
        raise Missing("there is no C compiler here (Debian, Ubuntu: apt install gcc libc6-dev)")
    program = house.root / name
    source = _NATIVE / f"{name}.c"
    _run([compiler, "-O2", "-Wall", "-Wextra", "-o", program, source])
    return program


def install_python(house: House, name: str, shown: Sequence[str]) -> str:
    """A virtual environment with what `packages/NAME.txt` pins; the versions of `shown`."""
    pins = _PACKAGES / f"{name}.txt"
    target = house.root / name
    python = target / "bin" / "python"
    if not _is_current(target, [pins]):
        print(f"Installing {pins.name}", file=sys.stderr)
        shutil.rmtree(target, ignore_errors=True)
        _run([sys.executable, "-m", "venv", target])
        _run([python, "-m", "pip", "install", "--quiet", "--requirement", pins])
        _stamp(target, [pins])
    versions = dict(line.split("==") for line in output([python, "-m", "pip", "freeze"]).split())
    by_name = {package.lower(): version for package, version in versions.items()}
    return ", ".join(f"{package} {by_name[package]}" for package in shown)


def install_node(house: House, shown: Sequence[str]) -> str:
    """The node packages, and beside them the apps that import them; the versions of `shown`."""
    target = house.root / "node"
    locks = [_PACKAGES / name for name in ("package.json", "package-lock.json", ".npmrc")]
    node = node_program()
    if not _is_current(target, locks):
        print("Installing package.json", file=sys.stderr)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for lock in locks:
            shutil.copy(lock, target)
        _run([Path(node).with_name("npm"), "ci", "--omit=optional", "--loglevel=error"], cwd=target)
        _stamp(target, locks)
    for app in APPS.glob("*.mjs"):
        shutil.copy(app, target)
    code = (
        "for (const name of process.argv.slice(1)) console.log(name + ' ' +"
        " JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version)"
    )
    versions = output([node, "-e", code, *shown], cwd=target).replace("\n", ", ")
    return f"{versions}, Node {output([node, '--version']).removeprefix('v')}"


def node_program() -> str:
    """Node, from PATH or from the wheel that the tests use."""
    return f"{output([HERE.parent / 'scripts' / 'node'])}/node"


def nginx_program() -> str:
    """Debian's nginx."""
    program = shutil.which("nginx", path=_SYSTEM_PATH)
    if program is None:
        raise Missing("nginx is not installed (Debian, Ubuntu: apt install nginx-light)")
    return program


def bin_of(house: House, environment: str, program: str) -> str:
    """A program of a peer's virtual environment."""
    return str(house.root / environment / "bin" / program)


def output(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    """What a command prints; `Missing` with its last line when it fails."""
    return _run(command, cwd=cwd)


def _run(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_INSTALL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(str(error)) from error
    said = done.stdout.strip()
    if done.returncode:
        last = said.splitlines()[-1] if said else "it said nothing"
        raise Missing(f"{Path(command[0]).name} failed: {last[:200]}")
    return said


def _is_current(target: Path, pins: Sequence[Path]) -> bool:
    stamp = target / ".installed"
    return stamp.exists() and stamp.read_text() == _digest(pins)


def _stamp(target: Path, pins: Sequence[Path]) -> None:
    (target / ".installed").write_text(_digest(pins))


def _digest(pins: Sequence[Path]) -> str:
    return hashlib.sha256(sys.version.encode() + b"".join(p.read_bytes() for p in pins)).hexdigest()
