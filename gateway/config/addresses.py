"""Addresses in ``models.toml``: where engines are asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from gateway.config.paths import folder_of, resolved
from gateway.http.address import Address

_LONGEST_SOCKET = 107
"""Bytes that the path of a Unix socket may have on Linux."""


def engine_url(given: str, folder: Path | None) -> str:
    """Write an address without white space around it, and a socket's path in full.

    Raises ``ValueError`` if it is none, without what may be a secret in it.
    """
    url = given.strip()
    socket = Address.parse(url).path
    if socket is None:
        return url
    path = resolved(socket, folder)
    if (length := len(os.fsencode(path))) > _LONGEST_SOCKET:
        raise ValueError(f"'{path}' has {length} bytes; the path of a socket may have {_LONGEST_SOCKET}")
    return f"unix:{path}"


def _resolved(url: str, info: ValidationInfo) -> str:
    return engine_url(url, folder_of(info))


EngineUrl = Annotated[str, AfterValidator(_resolved)]
"""An address of a replica: ``http://``, ``https://`` or ``unix:``."""
