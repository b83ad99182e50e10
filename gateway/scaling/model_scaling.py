"""How many replicas the models have whose engines run here: as their rules say, or as operators have fixed it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gateway.config.schema import Config
from gateway.core.ticker import Ticker
from gateway.pools.registry import Registry
from gateway.scaling.decide import ScalingRule
from gateway.scaling.fixed import FixedNumbers
from gateway.scaling.scaler import Engines, ScaledModel, Scaler, Told


class ModelScaling:
    """Looks at what the models of a configuration have to do, at each tick, and has their ``engines`` follow.

    ``told`` hears of each change, and of a replica that cannot be started yet.
    """

    def __init__(self, config: Config, registry: Registry, engines: Engines, told: Told) -> None:
        self._scaler = Scaler(engines, told)
        self._fixed = FixedNumbers(self._scaler)
        self._ticker = Ticker(self._scaler.tick, lambda _: None)
        self.follow(config, registry)

    def __repr__(self) -> str:
        return f"<ModelScaling {self._scaler!r} {self._fixed!r}>"

    def follow(self, config: Config, registry: Registry) -> None:
        """Go by another configuration from now on, but for numbers that are fixed."""
        self._config = config
        self._fixed.follow(_rules_of(config), registry.pools_by_model)

    def forget_fixed(self) -> None:
        """Go by the configuration alone again."""
        self._fixed.forget()

    def scale_model(self, name: str, replicas: int | None) -> None:
        """Fix the number of a model's replicas until the next reload; ``None``: let the configuration have its way.

        Raises a ``GatewayError``, and changes nothing, where it cannot have so many.
        """
        self._fixed.scale(self._config, name, replicas)

    def scaled_models(self) -> Collection[ScaledModel]:
        """Give the models that are scaled."""
        return list(self._scaler.models.values())

    def local_models(self) -> Mapping[str, ScaledModel | None]:
        """Give the models whose engines run here, each with how it is scaled, or ``None``."""
        scaled = self._scaler.models
        return {name: scaled.get(name) for name, each in self._config.models.items() if each.engine != "remote"}

    def start(self) -> None:
        """Look from now on."""
        self._ticker.start()

    def stop(self) -> None:
        """Look no more; all replicas stay."""
        self._ticker.stop()


def _rules_of(config: Config) -> dict[str, ScalingRule]:
    """Say by which rule the replicas of each model are scaled that is to be."""
    tables = {name: model.scaling for name, model in config.models.items() if model.engine != "remote"}
    return {
        name: ScalingRule(each.min, each.max, each.target, each.idle, each.keep)
        for name, each in tables.items()
        if each is not None
    }
