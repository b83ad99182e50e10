"""Takes a changed configuration over while the gateway runs: at a signal, at a command, or when a file has changed.

Everything is checked first. Where anything is wrong, or can only be read at the start, the old configuration stays in
force as a whole, and the log names file, key and reason.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.config.problems import ConfigError
from gateway.config.schema import Config
from gateway.core.start_error import StartError

LOOK_SECONDS = 1.0
"""How often the files are looked at. A change is taken over when it has been the same for two looks."""

AT_START = (
    "listen",
    "control",
    "processes",
    "access_log",
    "cache",
    "fast_paths",
    "files",
    "tuning",
    "batches",
    "tracing",
    "redis",
    "ray",
)
"""Options of ``[gateway]`` that are read at the start only."""


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """Where the configuration comes from: how it is read (raises ``ConfigError``), and the files it is read from."""

    load: Callable[[], Config]
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """How a reload went: what was wrong, in lines for people; nothing if the new configuration is in force."""

    problems: tuple[str, ...] = ()

    @property
    def successful(self) -> bool:
        """Whether the new configuration is in force."""
        return not self.problems


class Reloader:
    """Loads the configuration anew, checks it, and has it applied.

    ``apply`` takes it over, and raises ``StartError`` before it has changed anything if that is not possible;
    ``report`` is told how it went.
    """

    def __init__(
        self,
        config: Config,
        source: ConfigSource,
        apply: Callable[[Config], None],
        report: Callable[[ReloadOutcome], None],
    ) -> None:
        self._config = config
        self._source = source
        self._apply = apply
        self._report = report
        self._taken = self._seen = self._fingerprint()

    def __repr__(self) -> str:
        return f"<Reloader of {', '.join(map(str, self._files))}>"

    @property
    def _files(self) -> tuple[Path, ...]:
        return (*self._source.files, *_files_of(self._config))

    def reload(self) -> ReloadOutcome:
        """Take over what the files say now, or tell why not."""
        self._taken = self._seen = self._fingerprint()
        outcome = self._try()
        self._report(outcome)
        return outcome

    async def watch(self) -> None:
        """Reload whenever the content of a file has changed, also where a link has been swapped; for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Reload if the files have another content than at the last reload, and the same as at the last look."""
        now = self._fingerprint()
        stable, self._seen = now == self._seen, now
        if stable and now != self._taken:
            self.reload()

    def _try(self) -> ReloadOutcome:
        try:
            config = self._source.load()
        except ConfigError as error:
            return ReloadOutcome(tuple(str(error).splitlines()))
        problems = tuple(_needs_restart(self._config, config))
        if problems:
            return ReloadOutcome(problems)
        try:
            self._apply(config)
        except StartError as error:
            return ReloadOutcome((str(error),))
        self._config = config
        self._taken = self._seen = self._fingerprint()
        return ReloadOutcome()

    def _fingerprint(self) -> bytes:
        """Digest what the files hold; one that cannot be read counts as another content."""
        digest = hashlib.sha256()
        for file in self._files:
            try:
                content = file.read_bytes()
            except OSError as error:
                content = repr(error.errno).encode()
            digest.update(b"%d " % len(content) + content)
        return digest.digest()


def _files_of(config: Config) -> Iterator[Path]:
    """Name the files that a configuration names and whose content it consists of."""
    gateway = config.gateway
    yield from (file for file in (gateway.keys_file, gateway.tls_certificate, gateway.tls_key) if file is not None)


def _needs_restart(old: Config, new: Config) -> Iterator[str]:
    """Tell which changes cannot be taken over while the gateway runs."""
    for name in AT_START:
        if getattr(old.gateway, name) != getattr(new.gateway, name):
            yield f"gateway.{name}: is read at the start only; restart the gateway to change it"
    if (old.gateway.tls_certificate is None) != (new.gateway.tls_certificate is None):
        yield "gateway.tls_certificate: TLS is switched on and off at the start only; restart the gateway"
