"""Headwater: the streaming layer for AI products."""

from headwater.api import Headwater
from headwater.errors import HeadwaterError

__all__ = ["Headwater", "HeadwaterError"]
