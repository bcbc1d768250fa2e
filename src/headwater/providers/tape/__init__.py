"""Tapes: recorded responses with their timings, played as if a provider sent them.

`read` reads the file, `Playing` how fast and with which fault, `TapeProvider` a
folder of tapes, and `TapeSource` one playing.
"""

from headwater.providers.tape.file import Line, parse, read
from headwater.providers.tape.folder import names, nearest
from headwater.providers.tape.playing import Playing, WrongOption
from headwater.providers.tape.provider import TapeProvider
from headwater.providers.tape.source import TapeSource

__all__ = [
    "Line",
    "Playing",
    "TapeProvider",
    "TapeSource",
    "WrongOption",
    "names",
    "nearest",
    "parse",
    "read",
]
