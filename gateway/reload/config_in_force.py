"""The configuration in force: what its file says, with what jobs have published and commands have loaded since."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config.schema import Config
from gateway.core.start_error import StartError
from gateway.reload.adapter_changes import AdapterChanges
from gateway.tuning.published import PublishedModels
from gateway.tuning.publisher import Refused


class ConfigInForce:
    """Puts the configuration together anew at each change, and has it taken over as a whole or not at all.

    ``apply`` takes one over, and raises ``StartError`` before it has changed anything if that is not possible.
    """

    def __init__(self, file: Config, published: PublishedModels, apply: Callable[[Config], None]) -> None:
        self._file = file
        self._published = published
        self._apply = apply
        self._adapters = AdapterChanges()
        self.current = published.applied_to(file)

    def __repr__(self) -> str:
        return f"<ConfigInForce {list(self.current.models)} {self._published!r} {self._adapters!r}>"

    def reload(self, file: Config) -> None:
        """Take over what the file says now. Raises ``StartError``, and changes nothing."""
        self._take_over(file, self._adapters.reloaded())

    def serve_published(self) -> None:
        """Take over the models that are published now. Raises ``Refused``, and changes nothing."""
        try:
            self._take_over(self._file, self._adapters)
        except StartError as error:
            raise Refused(str(error)) from None

    def add_adapter(self, name: str, base: str, folder: str) -> None:
        """Take over a LoRA adapter that has been checked. Raises ``StartError``, and changes nothing."""
        self._take_over(self._file, self._adapters.with_adapter(name, base, folder))

    def remove_adapter(self, name: str) -> None:
        """Take a LoRA adapter away, wherever it is from. Raises ``StartError``, and changes nothing."""
        self._take_over(self._file, self._adapters.without(name))

    def _take_over(self, file: Config, adapters: AdapterChanges) -> None:
        config = adapters.applied_to(self._published.applied_to(file))
        self._apply(config)
        self._file, self._adapters, self.current = file, adapters, config
