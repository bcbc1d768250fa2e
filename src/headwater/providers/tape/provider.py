"""A folder of tapes as a provider: each is a model, and its options follow the name.

What is asked is not looked at: a tape answers everything, tools and images included, with what was
recorded.
"""

from __future__ import annotations

from pathlib import Path

from headwater.errors import ConfigurationError, RequestError, UnavailableError
from headwater.generation import GenerationRequest, PartialText
from headwater.providers.tape.file import Line
from headwater.providers.tape.folder import held, names, nearest
from headwater.providers.tape.playing import WrongOption, from_query
from headwater.providers.tape.source import TapeSource


class TapeProvider:
    """Plays the tapes of `folder`, by models such as `story` and `story?speed=4&cut=30`."""

    continues = False

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder

    def source(
        self, request: GenerationRequest, model: str, said: PartialText | None = None
    ) -> TapeSource:
        """A playing that has not begun; `RequestError` for no such tape or a wrong option."""
        if said is not None:
            raise RequestError("A tape cannot go on from a given text.")
        tape, _, query = model.partition("?")
        lines = self._lines(tape)
        try:
            playing = from_query(query)
        except WrongOption as error:
            raise RequestError(f"{self.name}/{tape}: {error}.", param="model") from error
        return TapeSource(lines, playing, self.name)

    async def aclose(self) -> None:
        """Nothing is held."""

    def _lines(self, tape: str) -> list[Line]:
        known = names(self._folder)
        name = f"{self.name}/{tape[:200]}"
        if tape not in known:
            near = ", ".join(f"{self.name}/{each}" for each in nearest(tape, sorted(known)))
            there = f"the nearest are {near}" if near else "there is none in its folder"
            message = f"There is no tape {name!r}; {there}."
            raise RequestError(message, code="model_not_found", param="model")
        try:
            return held(known[tape], name)
        except OSError as error:  # it was there a moment ago
            raise _unplayable(f"{name} cannot be read: {error.strerror}") from error
        except ConfigurationError as error:
            raise _unplayable(error.message) from error


def _unplayable(message: str) -> UnavailableError:
    return UnavailableError(
        "provider_not_configured", f"{message}.", retryable=False, param="model"
    )
