"""Loads and unloads LoRA adapters while the gateway runs: for operators, and for jobs that have made one."""

from __future__ import annotations

import asyncio

from pydantic import TypeAdapter, ValidationError

from gateway.config.schema import Config, names_of
from gateway.config.types import ModelName
from gateway.core.errors import BadRequest, GatewayError, ModelNotFound, Unavailable
from gateway.core.start_error import StartError
from gateway.plane import Plane
from gateway.pools.adapters import AdapterRefused, Adapters
from gateway.pools.model import Model
from gateway.reload.config_in_force import ConfigInForce
from gateway.tuning.publisher import Refused

_NAME: TypeAdapter[str] = TypeAdapter(ModelName)


class AdapterCommands:
    """Changes the ``adapters`` of a plane's replicas, one command at a time, and the configuration with them."""

    def __init__(self, adapters: Adapters, config: ConfigInForce, plane: Plane) -> None:
        self._adapters = adapters
        self._config = config
        self._plane = plane
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<AdapterCommands {self._adapters!r}>"

    async def load(self, name: str, base: str, folder: str) -> None:
        """Load a LoRA adapter into all ready replicas of a model, and let clients ask for it by its name.

        Raises a ``GatewayError``, and changes nothing, where it does not fit, no replica takes it or the configuration
        cannot be taken over. Where no replica is ready, it is loaded as soon as one is.
        """
        async with self._lock:
            try:
                await self._load(name, base, folder)
            except AdapterRefused as error:
                raise BadRequest(str(error), param="source", code="adapter_refused") from None
            try:
                self._config.add_adapter(name, base, folder)
            except StartError as error:
                # The replicas have it already, and are to have what the configuration in force says.
                self._adapters.follow(self._plane.registry)
                await self._adapters.settled()
                raise _not_taken_over(error) from None

    async def load_tuned(self, name: str, base: str, folder: str) -> None:
        """Load an adapter that a job has made, which clients may not ask for yet. Raises ``Refused``."""
        async with self._lock:
            try:
                await self._load(name, base, folder)
            except (AdapterRefused, GatewayError) as error:
                raise Refused(str(error)) from None

    async def unload(self, name: str) -> None:
        """Let clients no longer ask for an adapter, and unload it from all replicas.

        Raises ``ModelNotFound`` if there is no such adapter, ``BadRequest`` if a canary or a key is to use it, and
        ``Unavailable`` if the configuration cannot be taken over without it; nothing has changed then. Requests that
        have begun go on.
        """
        async with self._lock:
            if not any(model.name == name for model in self._plane.registry.adapters):
                raise ModelNotFound(f"There is no adapter {name[:200]!r}.", param="name")
            _check_unused(self._config.current, name)
            try:
                self._config.remove_adapter(name)
            except StartError as error:
                raise _not_taken_over(error) from None
            await self._adapters.settled()

    async def _load(self, name: str, base: str, folder: str) -> None:
        """Load an adapter. Raises ``AdapterRefused``, or a ``GatewayError`` where it cannot be one of this model."""
        _check_new(self._config.current, name, base)
        parent = self._plane.registry.find(base)
        await self._adapters.load(Model(name, parent.pool, tasks=parent.tasks, parent=parent, root=folder))


def _check_new(config: Config, name: str, base: str) -> None:
    """Check that a model takes adapters, and that the name of one is free. Raises ``BadRequest``, saying why not."""
    try:
        _NAME.validate_python(name)
    except ValidationError:
        raise BadRequest(f"The name {name[:200]!r} is none that a model can have.", param="name") from None
    settings = config.models.get(base)
    if settings is None:
        known = ", ".join(config.models)
        raise ModelNotFound(
            f"There is no model {base[:200]!r} to load an adapter of; there are: {known}.", param="base"
        )
    if settings.engine == "onnx" or settings.adapters is None:
        raise BadRequest(
            f"The model {base!r} takes no adapters; an empty table [models.{base}.adapters] lets them be loaded, if "
            "vLLM runs it.",
            param="base",
            code="adapters_not_enabled",
        )
    if name in names_of(config):
        raise BadRequest(f"{name!r} is a model, an alias or an adapter already.", param="name", code="name_taken")


def _check_unused(config: Config, name: str) -> None:
    """Check that nothing else in a configuration names an adapter. Raises ``BadRequest``, saying what does."""
    gateway = config.gateway
    users = [
        *(f"models.{at}.canary" for at, model in config.models.items() if model.canary and model.canary.model == name),
        *(f"gateway.groups.{at}" for at, group in gateway.groups.items() if name in group.models),
        *(f"the key {key.id!r}" for key in gateway.keys if name in key.models),
    ]
    if users:
        raise BadRequest(
            f"The adapter {name!r} is named by {', '.join(users)[:1000]}; take it out there first.",
            param="name",
            code="adapter_in_use",
        )


def _not_taken_over(error: StartError) -> Unavailable:
    return Unavailable(str(error), code="configuration_refused")
