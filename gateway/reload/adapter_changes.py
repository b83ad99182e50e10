"""LoRA adapters that were loaded and unloaded by command, on top of what the configuration says.

A command changes the configuration in force as a reload does, so that models, keys, other processes and later reloads
know of it in the one way. It does not change the file: a restart of the gateway begins with that alone.
"""

from __future__ import annotations

from typing import Any

from gateway.config.schema import Config, names_of


class AdapterChanges:
    """What commands have added to a configuration's adapters, and what they have taken away."""

    def __init__(self) -> None:
        self._added: dict[str, tuple[str, str]] = {}
        """The base and the folder of each adapter."""
        self._removed: set[str] = set()

    def __repr__(self) -> str:
        return f"<AdapterChanges [{len(self._added)} added, {len(self._removed)} removed]>"

    def add(self, name: str, base: str, folder: str) -> None:
        """Add an adapter that has been checked."""
        self._removed.discard(name)
        self._added[name] = (base, folder)

    def remove(self, name: str) -> None:
        """Take an adapter away, wherever it is from."""
        self._added.pop(name, None)
        self._removed.add(name)

    def reloaded(self) -> AdapterChanges:
        """Give the changes to a file that has been read anew: what it names is there, also what was taken away."""
        changes = AdapterChanges()
        changes._added |= self._added
        return changes

    def applied_to(self, config: Config) -> Config:
        """Give a configuration with the changes.

        What was added is left out where its base is no longer there, or its name is another's by now.
        """
        taken = names_of(config)
        models: dict[str, Any] = {}
        for base, settings in config.models.items():
            if settings.engine == "onnx" or settings.adapters is None:
                continue
            own = {name: folder for name, folder in settings.adapters.items() if name not in self._removed}
            more = {name: folder for name, (at, folder) in self._added.items() if at == base and name not in taken}
            if more or len(own) != len(settings.adapters):
                # Checked again, because each engine writes its folders in another way.
                given = settings.model_dump(exclude_unset=True) | {"adapters": {**own, **more}}
                models[base] = type(settings).model_validate(given)
        return config.model_copy(update={"models": {**config.models, **models}}) if models else config
