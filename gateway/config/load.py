"""Reads ``models.toml`` and the files beside it, and tells all mistakes at once: file, line, key and reason."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from gateway.config.checks import misfits
from gateway.config.gateway import GatewayConfig, KeyConfig, Limits, Timeouts, half_tls, host_and_port
from gateway.config.models import ModelConfig, PackageFile, PackageTable
from gateway.config.schema import Config, clashes


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration file."""

    file: Path
    key: str
    reason: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line is not None else str(self.file)
        return f"{where}: {self.key}: {self.reason}" if self.key else f"{where}: {self.reason}"


class ConfigError(Exception):
    """Everything that is wrong in a configuration, all at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


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
    keys, problems = _keys_of_file(path, tables)
    try:
        config = Config.model_validate(tables)
    except ValidationError as error:
        config = None
        found = (details for details in error.errors() if not _is_told_below(details) and not _is_other_branch(details))
        problems = [_problem(path, text, details) for details in found] + problems
    for at, reason in _misfits_in(tables):
        problems.append(Problem(path, ".".join(at), reason, _line_of(text, at)))
    elsewhere = [key.model_copy(update={"models": ()}) for key in keys]
    for at, reason in clashes(_aliases_in(tables), [*_keys_in(tables), *elsewhere]):
        problems.append(Problem(path, ".".join(at), reason, _line_of(text, at)))
    if config is None or problems:
        raise ConfigError(problems)
    config = _beside(path.parent.absolute(), config)
    gateway = config.gateway.model_copy(update={"keys": (*config.gateway.keys, *keys)})
    return config.model_copy(update={"gateway": gateway})


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


def _problem(path: Path, text: str, details: Mapping[str, Any]) -> Problem:
    """Say in our words what pydantic found."""
    location = [str(part) for part in details["loc"] if part not in ("str", "PackageTable", "[key]")]
    if details["type"] == "extra_forbidden":
        reason = "is not an option" + _nearest(location)
    elif details["type"] == "missing":
        reason = "is missing"
    else:
        given = details.get("input")
        # Whoever writes a key where its digest belongs must not find it in a log.
        tellable = isinstance(given, str | int | float | bool) and location[-1:] != ["sha256"]
        shown = f" (it is {given!r})" if tellable else ""
        reason = details["msg"].removeprefix("Value error, ")
        reason = f"{reason[0].lower()}{reason[1:]}{shown}"
    return Problem(path, ".".join(location), reason, _line_of(text, location))


def _is_told_below(details: Mapping[str, Any]) -> bool:
    """Whether this is about several keys of a table or several tables, which is told whatever else is wrong."""
    return details["type"] == "value_error" and (len(details["loc"]) == 0 or isinstance(details.get("input"), dict))


def _misfits_in(tables: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Find what does not go together within a table: where it stands, and what it is."""
    if problem := half_tls(_table(tables, "gateway")):
        yield ("gateway",), problem
    models = _table(tables, "models")
    for name in models:
        if problem := "; ".join(misfits(_table(models, name))):
            yield ("models", name), problem


def _is_other_branch(details: Mapping[str, Any]) -> bool:
    """Whether this is about the form of ``source`` that the operator did not choose."""
    # What concerns the whole file has no location.
    branch, given = details["loc"][-1:], details.get("input")
    return (branch == ("str",) and isinstance(given, dict)) or (branch == ("PackageTable",) and isinstance(given, str))


def _nearest(location: Sequence[str]) -> str:
    """Suggest the known key that looks most like an unknown one."""
    known = list(_table_of(location[:-1]).model_fields)
    close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known are: {', '.join(known)}"


def _table_of(location: Sequence[str]) -> type[BaseModel]:
    """Find the table at a location. What stands below ``models`` is a name, even if it sounds like a table."""
    match location:
        case []:
            return Config
        case ["gateway"]:
            return GatewayConfig
        case ["gateway", "limits"]:
            return Limits
        case ["gateway", "timeouts"]:
            return Timeouts
        case ["gateway", "keys", *_]:
            return KeyConfig
        case ["models", _]:
            return ModelConfig
        case ["models", _, "source"]:
            return PackageTable
        case _:
            return PackageFile


def _line_of(text: str, location: Sequence[str]) -> int | None:
    """Find the line of a key: the first assignment of its last name below its table's heading."""
    if not location:
        return None
    heading = re.compile(r"^\s*\[\[?\s*(?P<name>[^\]]+?)\s*\]\]?")
    assignment = re.compile(rf"^\s*[\"']?{re.escape(location[-1])}[\"']?\s*=")
    table = ".".join(part for part in location[:-1] if not part.isdecimal())
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        match = heading.match(line)
        if match:
            current = match["name"].replace('"', "").replace("'", "")
            if current == ".".join(location):
                return number
        elif current == table and assignment.match(line):
            return number
    return None


def _table(tables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Give a table of a file that may hold anything."""
    found = tables.get(name)
    return found if isinstance(found, dict) else {}


def _aliases_in(tables: Mapping[str, Any]) -> dict[str, list[str]]:
    """Give the names of all models and their aliases, as far as they can be read."""
    models = _table(tables, "models")
    given = {name: _table(models, name).get("aliases") for name in models}
    return {
        name: [alias for alias in aliases if isinstance(alias, str)] if isinstance(aliases, list) else []
        for name, aliases in given.items()
    }


def _keys_in(tables: Mapping[str, Any]) -> list[KeyConfig]:
    """Give the keys of the file itself, as far as they are valid."""
    given = _table(tables, "gateway").get("keys")
    keys = []
    for entry in given if isinstance(given, list) else []:
        with suppress(ValidationError):
            keys.append(KeyConfig.model_validate(entry))
    return keys


def _keys_of_file(path: Path, tables: Mapping[str, Any]) -> tuple[list[KeyConfig], list[Problem]]:
    """Read ``keys_file``, which may stand beside the configuration: its keys, and what is wrong with it."""
    name = _table(tables, "gateway").get("keys_file")
    if not isinstance(name, str):
        return [], []
    file = path.parent / name
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return [], [Problem(path, "gateway.keys_file", f"cannot be read: {error}")]
    known = _table(tables, "models")
    keys: list[KeyConfig] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines, start=1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        if len(fields) not in (2, 3):
            problems.append(Problem(file, "", "expected: ID SHA256 [MODEL,MODEL…]", number))
            continue
        models = tuple(fields[2].split(",")) if len(fields) == 3 else ()
        try:
            keys.append(KeyConfig(id=fields[0], sha256=fields[1], models=models))
        except ValidationError as error:
            problems += [Problem(file, str(e["loc"][0]), e["msg"], number) for e in error.errors()]
        problems += [
            Problem(file, "models", f"there is no model {model!r}", number) for model in models if model not in known
        ]
    return keys, problems


def _beside(folder: Path, config: Config) -> Config:
    """Read relative paths of files as standing beside the configuration, from wherever the command is run."""
    gateway = config.gateway
    paths = {
        name: folder / given
        for name in ("tls_certificate", "tls_key", "cache")
        if (given := getattr(gateway, name)) is not None
    }
    models = {
        name: model.model_copy(update={"source": str(folder / model.source)})
        if isinstance(model.source, str) and model.source.startswith(".")
        else model
        for name, model in config.models.items()
    }
    return config.model_copy(update={"gateway": gateway.model_copy(update=paths), "models": MappingProxyType(models)})
