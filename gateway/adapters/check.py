"""Looks at the files of a LoRA adapter, and whether it fits its base, before an engine does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from engines.errors import EngineError
from engines.files.adapters import check_fit, read_adapter
from gateway.config.schema import Config
from gateway.pools.adapters import AdapterRefused
from gateway.pools.model import Model


class AdapterCheck:
    """Compares an adapter's files with those of its base, as far as both are on this machine.

    ``config`` gives the configuration in force, and ``folder_of`` the folder with the files of a model that runs here.
    """

    def __init__(self, config: Callable[[], Config], folder_of: Callable[[str], Path | None]) -> None:
        self._config = config
        self._folder_of = folder_of

    async def check(self, adapter: Model) -> None:
        """Raise ``AdapterRefused`` where an adapter cannot be loaded."""
        assert adapter.parent is not None
        base = adapter.parent.name
        settings = self._config().models[base]
        is_remote = settings.engine == "remote" or settings.placement != "local"
        try:
            await asyncio.to_thread(_compare, Path(adapter.root), self._folder_of(base), is_remote)
        except (EngineError, OSError) as error:
            raise AdapterRefused(str(error)) from None


def _compare(adapter: Path, base: Path | None, is_remote: bool) -> None:
    """Check an adapter, and whether it fits its base. Raises ``EngineError``.

    Of a remote model it may be a folder of another machine.
    """
    if is_remote and not adapter.is_dir():
        return
    files = read_adapter(adapter)
    if base is not None:
        check_fit(files, base)
