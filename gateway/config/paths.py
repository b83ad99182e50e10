"""Paths in ``models.toml``, by one rule: ``~`` is a home directory, and a relative path begins beside the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo

_FOLDER = "folder"


def context_of(file: Path) -> dict[str, Any]:
    """Give what validation has to know about the file that is validated."""
    return {_FOLDER: file.parent.absolute()}


def folder_of(info: ValidationInfo) -> Path | None:
    """Return the folder of the file that is validated; ``None`` if there is no file, and paths are kept as they are."""
    return info.context[_FOLDER] if info.context else None


def resolved(path: str, folder: Path | None) -> Path:
    """Read a path by the rule. Raises ``ValueError`` if it can be none."""
    if not path or not path.isprintable():
        raise ValueError("expected a path")
    try:
        expanded = Path(path).expanduser()
    except RuntimeError:
        raise ValueError("begins with '~', but there is no such user or no home directory") from None
    return expanded if folder is None else folder / expanded


def _resolved(given: Any, info: ValidationInfo) -> Any:
    return str(resolved(given, folder_of(info))) if isinstance(given, str) else given


FilePath = Annotated[Path, Field(strict=False), BeforeValidator(_resolved)]
"""A file or folder that an option names."""
