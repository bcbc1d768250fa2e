"""The options of a request, for dialects that have other names for them or none at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from headwater.errors import RequestError
from headwater.providers.forwarding import ANY

# Bookkeeping, which changes no answer: an API that lacks it is not sent it.
_BOOKKEEPING: Final = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_summary",  # other APIs tell what they think unasked
        "safety_identifier",
        "store",
        "stream_options",
        "user",
    }
)
# Members with values that ask for nothing. Any other value asks for a feature, and so does a member
# that is not named here.
_FEATURES: Final[dict[str, tuple[Any, ...]]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("auto", "none"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "max_completion_tokens": (),
    "max_tokens": (),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "seed": (),
    "service_tier": ("auto", "default", "standard_only"),
    "stop": ([],),
    "temperature": (),
    "tool_choice": ("auto", "none"),
    "tools": ([],),
    "top_logprobs": (0,),
    "top_p": (),
    "verbosity": (),
    "web_search_options": (),
}


class Function(NamedTuple):
    """A tool that is the caller's own function."""

    name: str
    description: str | None
    parameters: dict[str, Any]
    strict: bool | None


class Schema(NamedTuple):
    """A format of the answer: `schema` None is any JSON object."""

    schema: dict[str, Any] | None
    given: dict[str, Any]


#: Which tool is to be called: any of them or none as the model likes, one at least, or this one.
Choice = Literal["auto", "none", "required"] | tuple[Literal["function"], str]


class Members:
    """What of a request's options `api` is sent: each is taken once, and the rest is refused.

    `kept` are members that it is sent as they are; `*` is any.
    """

    def __init__(self, options: Mapping[str, Any], api: str, kept: Collection[str] = ()) -> None:
        self._left = {name: value for name, value in options.items() if value is not None}
        self._api = api
        self._kept = kept

    def take(self, name: str) -> Any:
        """The member, or None."""
        return self._left.pop(name, None)

    def put(self, name: str, value: Any) -> None:
        """Give a member back, or a part of it."""
        if value is not None:
            self._left[name] = value

    def into(self, body: dict[str, Any], names: Mapping[str, str]) -> None:
        """Put members into `body` under the API's own names, where they were given."""
        for name, own in names.items():
            value = self._left.pop(name, None)
            if value is not None:
                body[own] = value

    def refuse(self, name: str, what: str | None = None) -> RequestError:
        """The error for a member, or `what` of it, that the API lacks."""
        return RequestError(f"{what or name} is not supported by {self._api}.", param=name)

    def done(self) -> dict[str, Any]:
        """The members that are left and kept; `RequestError` where another asks for a feature."""
        kept: dict[str, Any] = {}
        for name, value in self._left.items():
            if name in self._kept or (ANY in self._kept and name not in _FEATURES):
                kept[name] = value
            elif name not in _BOOKKEEPING and value not in _FEATURES.get(name, ()):
                raise self.refuse(name)
        return kept

    # the members that every dialect reads alike

    def max_tokens(self) -> int | None:
        """The most tokens to write; the newer name beats the older."""
        older, newer = self.take("max_tokens"), self.take("max_completion_tokens")
        limit: int | None = older if newer is None else newer
        return limit

    def stops(self, most: int | None = None) -> list[str]:
        """Where to stop; `most` is how many the API takes."""
        value = self.take("stop")
        stops = [value] if isinstance(value, str) else value or []
        if not isinstance(stops, list) or not all(isinstance(s, str) for s in stops):
            raise RequestError("stop must be a string or a list of strings.", param="stop")
        if most is not None and len(stops) > most:
            raise RequestError(
                f"stop has {len(stops)} entries; {self._api} takes {most}.", param="stop"
            )
        return stops

    def tools(self, own: Iterable[str] = ()) -> tuple[list[Function], list[dict[str, Any]]]:
        """The caller's functions, and tools of the API's own: their types begin like `own`."""
        value = self.take("tools")
        if value is None:
            return [], []
        if not isinstance(value, list):
            raise RequestError("tools must be a list.", param="tools")
        functions: list[Function] = []
        others: list[dict[str, Any]] = []
        for number, tool in enumerate(value):
            kind = tool.get("type") if isinstance(tool, dict) else None
            if kind == "function":
                functions.append(_function(tool.get("function"), f"tools[{number}].function"))
            elif isinstance(kind, str) and kind.startswith(tuple(own)):
                others.append(tool)
            else:
                raise self.refuse(f"tools[{number}]", f"tools[{number}], of type {kind!r:.40},")
        return functions, others

    def tool_choice(self) -> Choice | None:
        """Which tool is to be called; None when it was not said."""
        value = self.take("tool_choice")
        match value:
            case None | "auto" | "none" | "required":
                return value
            case {"type": "function", "function": {"name": str(name)}}:
                return ("function", name)
        raise self.refuse("tool_choice", "tool_choice of this form")

    def schema(self) -> Schema | None:
        """The format of the answer; None for text."""
        value = self.take("response_format")
        match value:
            case None | {"type": "text"}:
                return None
            case {"type": "json_object"}:
                return Schema(None, {})
            case {"type": "json_schema", "json_schema": {"schema": dict(schema)} as given}:
                return Schema(schema, given)
        raise self.refuse("response_format", "response_format of this form")

    def effort(self) -> str | None:
        """How much to think."""
        value = self.take("reasoning_effort")
        if value is not None and not isinstance(value, str):
            raise RequestError("reasoning_effort must be a string.", param="reasoning_effort")
        return value


def _function(value: Any, where: str) -> Function:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise RequestError(f"{where} must be an object with a name.", param=where)
    parameters = value.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise RequestError(f"{where}.parameters must be a JSON schema.", param=where)
    return Function(
        name=value["name"],
        description=value.get("description"),
        parameters=parameters or {"type": "object", "properties": {}},
        strict=value.get("strict"),
    )
