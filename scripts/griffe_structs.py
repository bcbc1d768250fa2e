"""An extension of griffe, which mkdocstrings reads the code with: how a msgspec Struct is made.

Its fields are the arguments, in their order, as of a dataclass.
"""

from __future__ import annotations

from typing import Any, Final

from griffe import Class, Extension, Function, Parameter, ParameterKind, Parameters

#: What structs that are documented derive from, as it is written there.
_BASES: Final = {"msgspec.Struct", "_Event"}


class Structs(Extension):
    """Gives every struct its `__init__`."""

    def on_class_members(self, *, cls: Class, **_: Any) -> None:
        """Called when the members of a class have been read."""
        if {str(base) for base in cls.bases} & _BASES:
            fields = [
                Parameter(
                    name,
                    annotation=field.annotation,
                    default=field.value,
                    kind=ParameterKind.positional_or_keyword,
                )
                for name, field in cls.attributes.items()
                if field.annotation is not None
            ]
            this = Parameter("self", kind=ParameterKind.positional_or_keyword)
            init = Function("__init__", parent=cls, parameters=Parameters(this, *fields))
            cls.set_member("__init__", init)
