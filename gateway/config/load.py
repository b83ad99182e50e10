"""Reads ``models.toml`` and the files beside it, and tells all mistakes at once: file, line, key and reason."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config.gateway import GatewayConfig, KeyConfig, host_and_port
from gateway.config.lines import Lines
from gateway.config.paths import context_of, resolved
from gateway.config.problems import ConfigError, Problem
from gateway.config.schema import Config, model_names
from gateway.config.table import plain

_ENCODING = "utf-8-sig"
"""UTF-8, where editors of Windows put a mark (BOM) at the beginning, which is no part of the text."""

_GROUP = "group="
"""How the word of a line in a file of keys begins that names the key's group."""


def load(path: Path) -> Config:
    """Read and check a configuration file. Raises ``ConfigError`` with every problem in it."""
    try:
        text = path.read_text(encoding=_ENCODING)
    except FileNotFoundError:
        raise ConfigError(
            [Problem(path, "", "there is no such file; name yours: headgate serve --config FILE, headgate check FILE")]
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(path, "", f"cannot be read: {error}")]) from None
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"line (\d+)", str(error))
        line = int(match[1]) if match else None
        raise ConfigError([Problem(path, "", f"is not valid TOML: {error}", line)]) from None
    except RecursionError:
        raise ConfigError([Problem(path, "", "is nested too deeply")]) from None
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
    gateway = config.gateway.model_copy(update=changes)
    # What is in the file goes together, so it is the number of processes that does not go with it.
    for at, reason in GatewayConfig.mistakes(dict(iter(gateway))):
        raise ConfigError([Problem(Path(f"--processes {processes}"), ".".join(("gateway", *map(str, at))), reason)])
    return config.model_copy(update={"gateway": gateway})


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
    at = ("gateway", "keys_file")
    try:
        entries = file.read_text(encoding=_ENCODING).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return [], [Problem(path, ".".join(at), f"cannot be read: {error}", lines.of(at))]
    models, groups = model_names(tables), plain(plain(tables, "gateway"), "groups")
    keys: list[KeyConfig] = []
    problems: list[Problem] = []
    for number, line in enumerate(entries, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        plain_words = [word for word in words if not word.startswith(_GROUP)]
        group = [word.removeprefix(_GROUP) for word in words if word.startswith(_GROUP)]
        if len(plain_words) not in (2, 3) or len(group) > 1:
            problems.append(Problem(file, "", "expected: ID SHA256 [MODEL,MODEL…] [group=NAME]", number))
            continue
        named = plain_words[2].split(",") if len(plain_words) == 3 else []
        # What is not there is told here, with its line, and not for a second time among the keys of all files.
        there = tuple(model for model in named if model in models)
        own = {"group": group[0]} if group and group[0] in groups else {}
        try:
            keys.append(KeyConfig.model_validate({"id": words[0], "sha256": plain_words[1], "models": there, **own}))
        except ValidationError as error:
            problems += [Problem(file, str(e["loc"][0]), e["msg"], number) for e in error.errors()]
        problems += [
            Problem(file, "models", f"there is no model {model!r}", number) for model in named if model not in models
        ]
        problems += [
            Problem(file, "group", f"there is no group {name!r} (gateway.groups)", number)
            for name in group
            if name not in groups
        ]
    if not keys and not problems and not plain(tables, "gateway").get("keys"):
        # One that is being written anew must not open the gateway to everyone.
        problems.append(
            Problem(path, ".".join(at), f"{file} holds no key, and without any everyone may ask", lines.of(at))
        )
    return keys, problems
