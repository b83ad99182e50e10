"""Reads ``models.toml`` and the files beside it, and tells all mistakes at once: file, line, key and reason."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config.gateway import KeyConfig, host_and_port
from gateway.config.lines import Lines
from gateway.config.paths import context_of, resolved
from gateway.config.problems import ConfigError, Problem
from gateway.config.schema import Config
from gateway.config.table import plain


def load(path: Path) -> Config:
    """Read and check a configuration file. Raises ``ConfigError`` with every problem in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError([Problem(path, "", "there is no such file; name one with --config FILE")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(path, "", f"cannot be read: {error}")]) from None
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"line (\d+)", str(error))
        line = int(match[1]) if match else None
        raise ConfigError([Problem(path, "", f"is not valid TOML: {error}", line)]) from None
    lines = Lines(text)
    keys, problems = _keys_of_file(path, tables, lines)
    try:
        config = Config.model_validate(_with_keys(tables, keys), context=context_of(path))
    except ValidationError as error:
        raise ConfigError([*_problems(path, lines, error), *problems]) from None
    if problems:
        raise ConfigError(problems)
    return config


def overridden(config: Config, *, listen: str | None, control: str | None, processes: int | None = None) -> Config:
    """Put what the command line says in the place of what is in the file. Raises ``ConfigError``."""
    given = {name: value for name, value in (("listen", listen), ("control", control)) if value is not None}
    for name, value in given.items():
        try:
            host_and_port(value)
        except ValueError as error:
            raise ConfigError([Problem(Path(f"--{name} {value}"), "", str(error))]) from None
    changes = given if processes is None else given | {"processes": processes}
    return config.model_copy(update={"gateway": config.gateway.model_copy(update=changes)})


def _problems(path: Path, lines: Lines, error: ValidationError) -> list[Problem]:
    """Give each mistake its line."""
    found = []
    for details in error.errors(include_url=False, include_context=False):
        at = [str(part) for part in details["loc"]]
        found.append(Problem(path, ".".join(at), details["msg"], lines.of(at)))
    return found


def _with_keys(tables: Mapping[str, Any], keys: list[KeyConfig]) -> Mapping[str, Any]:
    """Put the keys of the file of keys behind those of the configuration."""
    gateway = plain(tables, "gateway")
    own = gateway.get("keys", [])
    if not keys or not isinstance(own, list):
        return tables
    return {**tables, "gateway": {**gateway, "keys": [*own, *keys]}}


def _keys_of_file(path: Path, tables: Mapping[str, Any], lines: Lines) -> tuple[list[KeyConfig], list[Problem]]:
    """Read ``keys_file``, which may stand beside the configuration: its keys, and what is wrong with it."""
    name = plain(tables, "gateway").get("keys_file")
    if not isinstance(name, str):
        return [], []
    try:
        file = resolved(name, path.parent)
    except ValueError:
        return [], []  # That is found where the option is checked.
    try:
        entries = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        at = ("gateway", "keys_file")
        return [], [Problem(path, ".".join(at), f"cannot be read: {error}", lines.of(at))]
    known = plain(tables, "models")
    keys: list[KeyConfig] = []
    problems: list[Problem] = []
    for number, line in enumerate(entries, start=1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        if len(fields) not in (2, 3):
            problems.append(Problem(file, "", "expected: ID SHA256 [MODEL,MODEL…]", number))
            continue
        models = tuple(fields[2].split(",")) if len(fields) == 3 else ()
        try:
            # What is no model is told below, with its line, and not for a second time among the keys of all files.
            there = tuple(model for model in models if model in known)
            keys.append(KeyConfig(id=fields[0], sha256=fields[1], models=there))
        except ValidationError as error:
            problems += [Problem(file, str(e["loc"][0]), e["msg"], number) for e in error.errors()]
        problems += [
            Problem(file, "models", f"there is no model {model!r}", number) for model in models if model not in known
        ]
    return keys, problems
