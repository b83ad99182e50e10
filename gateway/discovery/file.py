"""Finds replicas in a file that another program writes, in the format of Prometheus' ``file_sd_configs``.

``[{"targets": ["10.0.0.5:8000"], "labels": {"__scheme__": "http"}}]``, as
https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config has it, in JSON. Labels other
than ``__scheme__`` are for other readers.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec

from gateway.config.addresses import engine_url
from gateway.discovery.source import SourceError, Tell
from gateway.pools.discovered import Found

_LOOK_SECONDS = 1.0
"""How often the file is looked at."""

_EXPECTED = 'expected a list as in [{"targets": ["HOST:PORT"]}]'


class _Group(msgspec.Struct):
    targets: list[str]
    labels: dict[str, str] = {}


class FileSource:
    """Looks at a file each second.

    Its content is read and compared, so that a swapped link and a change within one tick of the file system's clock are
    seen. What is wrong with it counts once it is there at two looks, because a file may be half written at one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken: bytes | None = None
        """The content that is in force."""
        self._found = Found(())
        self._trouble = ""

    def __repr__(self) -> str:
        return f"<FileSource {self._path} [{len(self._found.urls)} replicas]>"

    async def watch(self, tell: Tell) -> None:
        """Tell what the file lists, at each look. Raises ``SourceError``."""
        while True:
            tell(self.look())
            await asyncio.sleep(_LOOK_SECONDS)

    def pause(self, _failures: int) -> float:
        """Look again at the usual interval."""
        return _LOOK_SECONDS

    def look(self) -> Found:
        """Read the file. Raises ``SourceError``."""
        try:
            content = self._path.read_bytes()
            if content != self._taken:
                self._found = parse(content, self._path.parent)
        except (OSError, SourceError) as error:
            reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
            known, self._trouble = self._trouble, reason
            if reason == known or self._taken is None:
                raise SourceError(reason) from None
        else:
            self._taken, self._trouble = content, ""
        return self._found


def parse(content: bytes, folder: Path) -> Found:
    """Read the targets of all groups; the path of a socket begins in ``folder``. Raises ``SourceError``.

    A list without any target is an answer: then there is to be no replica.
    """
    try:
        groups = msgspec.json.decode(content, type=list[_Group])
    except msgspec.ValidationError as error:
        raise SourceError(f"{error}; {_EXPECTED}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"{_where(content)}is no JSON: {error}; {_EXPECTED}") from None
    urls: dict[str, None] = {}
    for number, group in enumerate(groups):
        scheme = group.labels.get("__scheme__", "http")
        for place, target in enumerate(group.targets):
            is_url = "://" in target or target.startswith("unix:")
            try:
                urls[engine_url(target if is_url else f"{scheme}://{target}", folder)] = None
            except ValueError as error:
                raise SourceError(f"[{number}].targets[{place}]: {error}") from None
    return Found(tuple(urls), spare=None if urls else (), at_zero=not urls)


def _where(content: bytes) -> str:
    """Name the line where JSON ends to be such; nothing if another decoder finds no fault."""
    try:
        json.loads(content)
    except json.JSONDecodeError as error:
        return f"line {error.lineno}, column {error.colno}: "
    except UnicodeDecodeError as error:
        return f"line {content[: error.start].count(10) + 1}: "
    return ""
