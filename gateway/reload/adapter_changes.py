"""LoRA adapters that were loaded and unloaded by command, on top of what the configuration says.

A command changes the configuration in force as a reload does, so that models, keys, other processes and later reloads
know of it in the one way. It does not change the file: a restart of the gateway begins with that alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.config.schema import Config, names_of


@dataclass(frozen=True, slots=True)
class AdapterChanges:
    """What commands have added to a configuration's adapters, and what they have taken away.

    A further change gives another value, so that one that is not taken over leaves nothing behind.
    """

    added: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """The base and the folder of each adapter."""
    removed: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<AdapterChanges [{len(self.added)} added, {len(self.removed)} removed]>"

    def with_adapter(self, name: str, base: str, folder: str) -> AdapterChanges:
        """Give these changes and an adapter more, which has been checked."""
        return AdapterChanges({**self.added, name: (base, folder)}, self.removed - {name})

    def without(self, name: str) -> AdapterChanges:
        """Give these changes with an adapter taken away, wherever it is from."""
        added = {each: source for each, source in self.added.items() if each != name}
        return AdapterChanges(added, self.removed | {name})

    def reloaded(self) -> AdapterChanges:
        """Give the changes to a file that has been read anew: what it names is there, also what was taken away."""
        return AdapterChanges(self.added)

    def applied_to(self, config: Config) -> Config:
        """Give a configuration with the changes.

        What was added is left out where its base is no longer there, or its name is another's by now.
        """
        taken = names_of(config)
        models: dict[str, Any] = {}
        for base, settings in config.models.items():
            if settings.engine == "onnx" or settings.adapters is None:
                continue
            own = {name: folder for name, folder in settings.adapters.items() if name not in self.removed}
            more = {name: folder for name, (at, folder) in self.added.items() if at == base and name not in taken}
            if more or len(own) != len(settings.adapters):
                # Checked again, because each engine writes its folders in another way.
                given = settings.model_dump(exclude_unset=True) | {"adapters": {**own, **more}}
                models[base] = type(settings).model_validate(given)
        return config.model_copy(update={"models": {**config.models, **models}}) if models else config
