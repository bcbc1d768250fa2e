"""`catalogue.toml`, beside this file: the providers and models that are known without settings."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import msgspec

from headwater.providers.tape.shipped import FOLDER
from headwater.settings import Endpoint


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model, the providers that have it, what it can do, and who says so since when."""

    id: str
    providers: list[str]
    source: str
    checked: str
    context: int | None = None
    can: tuple[str, ...] | None = None


class Catalogue(msgspec.Struct, frozen=True):
    """What is in the file."""

    providers: dict[str, Endpoint]
    models: list[Entry]
    members: dict[str, tuple[str, ...]]

    def members_of(self, dialect: str) -> frozenset[str]:
        """The members of a request that a provider with this dialect is sent."""
        return frozenset(self.members["every"] + self.members.get(dialect, ()))


def load() -> Catalogue:
    """Read the file that came with this package; with the tapes, whose place no file can say."""
    text = files("headwater.providers").joinpath("catalogue.toml").read_text("utf-8")
    catalogue = msgspec.convert(tomllib.loads(text), Catalogue)
    catalogue.providers["tape"] = Endpoint(base_url=str(FOLDER), dialect="tape")
    return catalogue
