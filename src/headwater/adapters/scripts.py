"""The browser client, as every host serves it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

#: The folder of what is built for browsers.
PLAYGROUND: Final = Path(str(files("headwater.playground")))

#: The client, and its parts that only some pages want; they import each other by these names.
SCRIPTS: Final = ("headwater.js", "headwater-tabs.js", "headwater-element.js")
