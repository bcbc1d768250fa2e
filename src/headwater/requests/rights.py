"""What the key of a principal may use."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from msgspec import structs

from headwater.errors import RequestError
from headwater.settings import KeyLimits, KeySettings, Settings


class Rights:
    """Models and limits of each key. Who has no key of its own has those of everyone."""

    def __init__(self, settings: Settings) -> None:
        self._limits = settings.limits
        self._keys = dict(settings.auth.keys)

    def renew(self, keys: Mapping[str, KeySettings]) -> None:
        """Go by these keys from now on."""
        self._keys = dict(keys)

    def limits(self, principal: str | None) -> KeyLimits:
        """The limits of `[limits]`, with those of the principal's key over them."""
        key = self._keys.get(principal or "")
        if key is None or key.limits is None:
            return self._limits
        own = {name: most for name, most in structs.asdict(key.limits).items() if most is not None}
        return structs.replace(self._limits, **own)

    def may_ask(self, principal: str | None, model: str) -> bool:
        """Whether the principal may ask for the model of this name."""
        key = self._keys.get(principal or "")
        if key is None or key.models is None:
            return True
        return any(fnmatchcase(model, glob) for glob in key.models)

    def check_model(self, principal: str | None, model: str) -> None:
        """`RequestError` (`model_not_found`), the same for a model that there is and one not."""
        if not self.may_ask(principal, model):
            raise RequestError(
                f"There is no model {model[:200]!r} for this key; GET /v1/models lists those that "
                "there are.",
                code="model_not_found",
                param="model",
            )
