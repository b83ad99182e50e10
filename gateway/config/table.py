"""One table of ``models.toml`` as a frozen model that tells all that is wrong with it at once, in words for operators.

Pydantic finds what is wrong with each option; ``Table.mistakes`` adds what is wrong between options, whether or not the
options are right by themselves. Both come out as one ``ValidationError``, with the place of each mistake: the same for
a file, for values in memory and for what another process sends.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

Place = tuple[str | int, ...]
"""Where something stands within a table: names of options and tables, and indexes of lists."""

SECRET = object()
"""In the metadata of an option: what was given for it is never shown."""

_IN_WORDS = "told"
"""The type of an error that says what is to be said."""


_EXPECTED: Mapping[str, str] = {
    "dict_type": "expected a table",
    "list_type": "expected a list",
    "mapping_type": "expected a table",
    "model_attributes_type": "expected a table",
    "model_type": "expected a table",
    "path_type": "expected a path",
    "tuple_type": "expected a list",
}
"""What to say in TOML's words instead of Python's, by pydantic's type of an error."""


class Mistake(NamedTuple):
    """What is wrong with a table, and where in it."""

    at: Place
    reason: str


class Table(BaseModel):
    """A table of ``models.toml``: it never changes, and an option that it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterable[Mistake]:  # noqa: ARG003 - Tables with rules look at it.
        """Say what does not go together in a table as it was given. Its options may be wrong by themselves too."""
        return ()

    @classmethod
    def arranged(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Bring a table into the form of the model, where a file may write it in another way too."""
        return given

    @classmethod
    def place(cls, at: Place, given: Any) -> Place:  # noqa: ARG003 - Tables with several forms look at it.
        """Say where in the table as it was given the thing stands that pydantic calls ``at``."""
        return at[:-1] if at[-1:] == ("[key]",) else at

    @classmethod
    def known(cls) -> Sequence[str]:
        """Name the options that the table may have."""
        return tuple(cls.model_fields)

    @classmethod
    def unknown(cls, name: str) -> str:
        """Say what is wrong with an option that the table does not have."""
        known = cls.known()
        close = nearest(name, known)
        return "is not an option; " + (f"did you mean {close!r}?" if close else f"known are: {', '.join(known)}")

    @model_validator(mode="wrap")
    @classmethod
    def _tell_everything(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        is_table = isinstance(given, Mapping)
        found = [_error(mistake, given) for mistake in cls.mistakes(given)] if is_table else []
        try:
            table = validate(cls.arranged(given) if is_table else given)
        except ValidationError as error:
            found = [*(cls._in_words(details, given) for details in error.errors(include_url=False)), *found]
        if found:
            raise ValidationError.from_exception_data(cls.__name__, found, hide_input=True) from None
        return table

    @classmethod
    def _in_words(cls, details: ErrorDetails, given: Any) -> InitErrorDetails:
        """Say in our words what pydantic found; a table below this one has said it already."""
        at = cls.place(details["loc"], given)
        reason = details["msg"] if details["type"] == _IN_WORDS else cls._reason(at, details)
        return _error(Mistake(at, reason), details["input"])

    @classmethod
    def _reason(cls, at: Place, details: ErrorDetails) -> str:
        field = cls.model_fields.get(str(at[0])) if at else None
        match details["type"]:
            case "extra_forbidden":
                return cls.unknown(str(at[-1]))
            case "missing":
                expected = field.description if field is not None and field.description else "it is required"
                # A description's first sentence says what belongs there; the others say why.
                first = expected.partition(". ")[0].removesuffix(".")
                return f"is missing; expected: {first[0].lower()}{first[1:]}"
            case kind if kind in _EXPECTED:
                return _EXPECTED[kind]
            case _:
                reason = details["msg"].removeprefix("Value error, ")
                showable = field is None or SECRET not in field.metadata
                shown = f" (it is {details['input']!r})" if showable and _is_plain(details["input"]) else ""
                return f"{reason[0].lower()}{reason[1:]}{shown}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Find the name that looks most like a misspelt one, if any does."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), None)


def plain(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Give a table within one that may hold anything."""
    found = given.get(name)
    return found if isinstance(found, Mapping) else {}


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)


def _error(mistake: Mistake, given: Any) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError(_IN_WORDS, mistake.reason), loc=mistake.at, input=given)
