"""The declared options of an ONNX model as a command line: written by who starts the server, and read by the server."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, get_origin

import msgspec

from engines.onnx.options import OnnxOptions, Option, options_of

_ALL = OnnxOptions.__struct_fields__

KEY_VARIABLE = "HEADGATE_ENGINE_KEY"
"""The environment variable with the key that requests must carry: a command line can be read by all users."""


def add_options(parser: argparse.ArgumentParser, only: Collection[str] = _ALL) -> None:
    """Add the options that the server takes, or some of them by name."""
    for option in options_of(OnnxOptions):
        flag = _flag(option)
        if flag is None or option.name not in only:
            continue
        parser.add_argument(
            flag,
            dest=option.name,
            action="append" if _is_table(option.kind) else "store",
            type=partial(_argument, option),
            default=argparse.SUPPRESS,
            metavar=option.extra.get("metavar"),
            help=_help(option),
        )


def words(options: OnnxOptions, only: Collection[str] = _ALL) -> list[str]:
    """Write options, or some of them by name, as words of a command line, as far as they are not the defaults.

    Name and value are one word, so that a value may begin with a dash.
    """
    line = []
    for option in options_of(OnnxOptions):
        flag, value = _flag(option), getattr(options, option.name)
        if flag is not None and option.name in only and value != option.default:
            line += [f"{flag}={word}" for word in _written(value)]
    return line


def options_in(parsed: argparse.Namespace) -> OnnxOptions:
    """Take the options out of a parsed command line."""
    given = {name: value for name, value in vars(parsed).items() if name in _ALL}
    for option in options_of(OnnxOptions):
        if option.name in given and _is_table(option.kind):
            given[option.name] = {key: value for table in given[option.name] for key, value in table.items()}
    return OnnxOptions(**given)


def _help(option: Option) -> str:
    """Write an option's meaning as help does: without a capital and a full stop."""
    meaning = option.meta.description or ""
    told = [f"{meaning[0].lower()}{meaning[1:].removesuffix('.')}"]
    if _is_table(option.kind):
        told.append("may be given several times")
    if option.default:
        told.append(f"default {option.default}")
    return "; ".join(told).replace("%", "%%")


def _flag(option: Option) -> str | None:
    name = option.extra.get("flag", option.name)
    return None if name is None else f"--{name.replace('_', '-')}"


def _written(value: Any) -> list[str]:
    """Write a value: a table as one word for each key, anything else as one word."""
    if isinstance(value, Mapping):
        return [f"{key}={','.join(each)}" for key, each in value.items()]
    if isinstance(value, msgspec.Struct):
        return [msgspec.json.encode(value).decode()]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [",".join(value)]
    return [str(value)]


def _argument(option: Option, word: str) -> Any:
    """Read one word of the command line."""
    try:
        value = _READERS.get(_shape(option.kind), str)(word)
        return option.check(msgspec.convert(value, Annotated[option.kind, option.meta], strict=False))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{word!r}: {error}") from None


def _shape(kind: Any) -> Any:
    """Return what decides how a value is written: a generic type without its parameters, or one word for a struct."""
    return msgspec.Struct if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else get_origin(kind)


def _is_table(kind: Any) -> bool:
    return _shape(kind) is Mapping


def _listed(word: str) -> list[str]:
    return [each.strip() for each in word.split(",")]


def _table(word: str) -> dict[str, list[str]]:
    key, separator, listed = word.partition("=")
    if not separator:
        raise ValueError("expected NAME=A,B")
    return {key: _listed(listed)}


_READERS: Mapping[Any, Callable[[str], Any]] = {tuple: _listed, Mapping: _table, msgspec.Struct: msgspec.json.decode}
"""How a word is read, by the shape of the value; any other is a single one, which its type reads."""
