"""What the embedded engine is not asked to do: bounds on what it would compile, keep or tokenize.

llama.cpp samples for all of its streams in one thread. A schema that allows many ways to read the
same text holds that thread, and with it every stream, for as long as there is memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from headwater.errors import RequestError
from headwater.generation import GenerationRequest
from headwater.providers.local.engine import CONTEXT

#: Schemas, properties and values of `enum` in all schemas of a request. Each `$ref` counts as what
#: it points to. Each may be one more state that every token of the vocabulary is tried against.
MAX_PARTS: Final = 256
#: Levels of a schema, `$ref`s followed: a recursive one has no end.
MAX_LEVELS: Final = 32
#: Characters of one property's name or of one value of `enum`, each of which becomes a rule.
MAX_LITERAL: Final = 1024
#: Repetitions (`maxItems` and its like), each of which becomes a rule.
MAX_REPEATS: Final = 1000
#: Entries of `logit_bias` and `stop`, which are gone through for each token.
MAX_ENTRIES: Final = 1024
#: Characters of all messages. The vocabulary's longest tokens have about 64.
MAX_TEXT: Final = 64 * CONTEXT

# A range of integers makes several rules, one for each number of digits.
_RANGES: Final = ("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum")
_RANGE_PARTS: Final = 4
_REPEATS: Final = ("maxItems", "maxLength", "minItems", "minLength")
# Keywords of which no rules are made. Definitions count where a `$ref` points to them.
_IGNORED: Final = frozenset(
    {"$comment", "$defs", "default", "definitions", "description", "examples", "required", "title"}
)


def check(request: GenerationRequest) -> None:
    """`RequestError`, naming the member and the bound, for what the engine must not be asked."""
    options = request.options
    _check_messages(request.messages)
    for name in ("logit_bias", "stop"):
        value = options.get(name)
        if isinstance(value, list | dict) and len(value) > MAX_ENTRIES:
            raise _refused(name, f"has at most {MAX_ENTRIES} entries")
    last_n = options.get("repeat_last_n")
    if isinstance(last_n, int | float) and last_n > CONTEXT:
        raise _refused("repeat_last_n", f"is at most {CONTEXT}")
    budget = _Budget()
    for path, schema in _schemas(options):
        _Schema(path, schema, budget).check(path, schema, 0)


def _check_messages(messages: Sequence[Any]) -> None:
    # Every message takes a token at least.
    if len(messages) > CONTEXT:
        raise _refused("messages", f"has at most {CONTEXT} entries")
    if _length(messages) > MAX_TEXT:
        raise _refused("messages", f"has at most {MAX_TEXT} characters")


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_length, value.values()))
    return sum(map(_length, value)) if isinstance(value, list) else 0


def _schemas(options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every schema of a request, with the path of the member that it is."""
    answer = _object(options.get("response_format"))
    yield "response_format.schema", answer.get("schema")
    inner = _object(answer.get("json_schema"))
    yield "response_format.json_schema.schema", inner.get("schema")
    for name in ("tools", "functions"):
        tools = options.get(name)
        for at, tool in enumerate(tools if isinstance(tools, list) else ()):
            function = _object(_object(tool).get("function", tool))
            yield f"{name}[{at}].function.parameters", function.get("parameters")


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


class _Budget:
    """Parts that the schemas of one request may still have."""

    def __init__(self) -> None:
        self.left = MAX_PARTS

    def spend(self, path: str, parts: int = 1) -> None:
        self.left -= parts
        if self.left < 0:
            raise _refused(
                path, f"has more parts than the {MAX_PARTS} that all schemas together may have"
            )


class _Schema:
    """One schema at `root`, to which its `$ref`s are relative."""

    def __init__(self, path: str, root: Any, budget: _Budget) -> None:
        self._path = path
        self._root = root
        self._budget = budget

    def check(self, path: str, value: Any, level: int) -> None:
        """Check a schema, or a list of them, as a tree in which `$ref`s are followed."""
        if level > MAX_LEVELS:
            raise _refused(self._path, f"has at most {MAX_LEVELS} levels, and is not recursive")
        if isinstance(value, list):
            for inner in value:
                self._budget.spend(self._path)
                self.check(path, inner, level + 1)
        elif isinstance(value, dict):
            self._budget.spend(self._path)
            for name, inner in value.items():
                if name not in _IGNORED:
                    _check_length(path, name)
                    self._check_keyword(f"{path}.{name}", name, inner, level + 1)

    def _check_keyword(self, path: str, name: str, value: Any, level: int) -> None:
        if name == "pattern":
            raise _refused(path, "is not supported")
        if name in _REPEATS:
            if isinstance(value, int | float) and not 0 <= value <= MAX_REPEATS:
                raise _refused(path, f"is from 0 to {MAX_REPEATS}")
        elif name in _RANGES:
            self._budget.spend(self._path, _RANGE_PARTS)
        elif name == "$ref":
            self.check(path, self._target(path, value), level)
        elif name in ("enum", "const"):
            self._check_literal(path, value, level)
        elif name == "properties" and isinstance(value, dict):
            for inner_name, inner in value.items():
                _check_length(path, inner_name)
                self.check(f"{path}.{inner_name}", inner, level)
        else:
            self.check(path, value, level)

    def _check_literal(self, path: str, value: Any, level: int) -> None:
        """Check a name or a value, which the answer holds as it is."""
        self._budget.spend(self._path)
        if level > MAX_LEVELS:
            raise _refused(path, f"has at most {MAX_LEVELS} levels")
        if isinstance(value, str):
            _check_length(path, value)
        if isinstance(value, dict):
            value = [*value, *value.values()]
        for inner in value if isinstance(value, list) else ():
            self._check_literal(path, inner, level + 1)

    def _target(self, path: str, ref: Any) -> Any:
        """What `ref` points to, found as llama.cpp finds it."""
        if not isinstance(ref, str) or not ref.startswith("#/"):
            raise _refused(path, 'begins with "#/"')
        target = self._root
        for name in ref[2:].split("/"):
            if not isinstance(target, dict) or name not in target:
                raise _refused(path, "points to nothing")
            target = target[name]
        return target


def _check_length(path: str, literal: str) -> None:
    if len(literal) > MAX_LITERAL:
        raise _refused(path, f"has names and values of at most {MAX_LITERAL} characters")


def _refused(path: str, bound: str) -> RequestError:
    path = path[:100]
    return RequestError(f"{path} {bound}, for the embedded model.", param=path)
