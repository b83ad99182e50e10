"""``source``: where a model's files are; as text a folder or a hub's id, as a table files that ride in a package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag, ValidationInfo, field_validator

from gateway.config.paths import folder_of, resolved
from gateway.config.table import Table
from gateway.config.types import Sha256


class PackageFile(Table):
    """A file inside a package: where it stands there, and what it must be."""

    path: str = Field(
        description="The file's path inside the package.",
        examples=["cloneguard/model/tokenizer.json"],
    )
    sha256: Sha256 = Field(
        description="The SHA-256 that the file must have, as 64 hexadecimal digits.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/"):
            raise ValueError("expected a path inside the package")
        return path


class PackageTable(Table):
    """``source`` as a table: model files that ride in a Python package, taken out as data and never imported."""

    package: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+$")] = Field(
        description="The package and its exact version, `NAME==VERSION`.",
        examples=["cloneguard==0.6.0"],
    )
    files: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], PackageFile] = Field(
        min_length=1, description="The files to take out, by the name they get in the model's folder."
    )


def is_path(source: str) -> bool:
    """Tell a folder from a hub's id, which is relative to nothing."""
    return source.startswith(("/", ".", "~"))


def _resolved(source: str, info: ValidationInfo) -> str:
    """Write a folder's whole path. One beside the file is a folder, too, if it does not begin with a dot."""
    folder = folder_of(info)
    if is_path(source):
        path = str(resolved(source, folder))
        # Of a path, the dot in front is left out, by which it is none of a hub's.
        return path if is_path(path) else f"./{path}"
    beside = None if folder is None else Path(folder, source)
    return str(beside) if beside is not None and beside.is_dir() else source


def _form(source: Any) -> str:
    return "text" if isinstance(source, str) else "table"


ModelSource = Annotated[
    Annotated[str, Field(min_length=1), AfterValidator(_resolved), Tag("text")] | Annotated[PackageTable, Tag("table")],
    Discriminator(_form),
]
"""In the place of a mistake, the form that was chosen stands behind the option's name."""


def _is_no_hub(source: str | PackageTable) -> str | PackageTable:
    if isinstance(source, str) and not is_path(source):
        raise ValueError(
            "there is no such folder here, and only vLLM takes models from a hub; expected a folder or a table"
        )
    return source


FilesSource = Annotated[ModelSource, AfterValidator(_is_no_hub)]
"""Of a model whose files have to be named, because a hub's repository may hold several."""
