"""Options that an engine declares as a ``msgspec`` struct, as options of a table of ``models.toml``.

An engine's process reads its options without the library that checks configurations, so they are declared without it;
see ``engines.onnx.options``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, TypeVar, get_origin

import msgspec
from pydantic import AfterValidator, Field, create_model

from engines.onnx.options import Option, options_of
from gateway.config.table import Table

_Table = TypeVar("_Table", bound=Table)

_BOUNDS = ("gt", "ge", "lt", "le", "min_length", "max_length")


def with_options_of(struct: type[msgspec.Struct]) -> Callable[[type[_Table]], type[_Table]]:
    """Add the options of a struct to a table; this is a decorator."""

    def extended(table: type[_Table]) -> type[_Table]:
        return create_model(
            table.__name__, __base__=table, __module__=table.__module__, __doc__=table.__doc__, **_fields(struct)
        )

    return extended


@cache
def table_of(struct: type[msgspec.Struct]) -> type[Table]:
    """Make the table that has the options of a struct and no others."""
    return create_model(struct.__name__, __base__=Table, __doc__=struct.__doc__, **_fields(struct))


def _fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {option.name: (_type(option), _field(option)) for option in options_of(struct)}


def _type(option: Option) -> Any:
    is_struct = isinstance(option.kind, type) and issubclass(option.kind, msgspec.Struct)
    kind = table_of(option.kind) if is_struct else option.kind
    if "check" in option.extra:
        kind = Annotated[kind, AfterValidator(option.check)]
    return kind | None if option.optional else kind


def _field(option: Option) -> Any:
    meta = option.meta
    bounds = {name: bound for name in _BOUNDS if (bound := getattr(meta, name)) is not None}
    strict = False if get_origin(option.kind) is tuple else None
    default = ... if option.required else option.default
    return Field(default, strict=strict, description=meta.description, examples=meta.examples, **bounds)
