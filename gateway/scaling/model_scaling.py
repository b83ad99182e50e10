"""How many replicas the models have whose engines run here: as their rules say, or as operators have fixed it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from gateway.config.schema import Config
from gateway.core.ticker import Ticker
from gateway.pools.registry import Registry
from gateway.scaling.decide import ScalingRule
from gateway.scaling.fixed import FixedNumbers
from gateway.scaling.neighbours import Neighbours
from gateway.scaling.scaler import Engines, ScaledModel, Scaler, Told

_LOOK_SECONDS = 10.0
"""How often other gateways are looked for that scale the same models."""


class ModelScaling:
    """Looks at what the models of a configuration have to do, at each tick, and has their ``engines`` follow.

    ``told`` hears of each change, and of a replica that cannot be started yet. Of ``neighbours`` that scale the same
    models ``say`` takes a line; engines are started and stopped all the same.
    """

    def __init__(
        self,
        config: Config,
        registry: Registry,
        engines: Engines,
        told: Told,
        *,
        neighbours: Neighbours,
        say: Callable[[str], None],
    ) -> None:
        self._scaler = Scaler(engines, told)
        self._fixed = FixedNumbers(self._scaler)
        self._neighbours = neighbours
        self._say = say
        self._look_at = 0.0
        self._ticker = Ticker(self.tick, lambda _: None)
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

    def tick(self, now: float) -> None:
        """Have as many replicas as are needed, and see now and then who else does; ``now`` is from ``perf_counter``."""
        self._scaler.tick(now)
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._look_around()

    def stop(self) -> None:
        """Look no more; all replicas stay."""
        self._ticker.stop()
        self._neighbours.leave()

    def _look_around(self) -> None:
        """Note which models other gateways on this machine scale too, and say what has changed about that."""
        models = self._scaler.models
        # Replicas on a cluster take nothing of this machine.
        here = {
            name for name, each in self._config.models.items() if each.engine != "remote" and each.placement == "local"
        }
        rivals = self._neighbours.rivals(models.keys() & here)
        come = [name for name, model in models.items() if name in rivals and not model.contested]
        gone = [name for name, model in models.items() if name not in rivals and model.contested]
        for name, model in models.items():
            model.contested = name in rivals
        if come:
            processes = ", ".join(sorted({str(rivals[name]) for name in come}))
            self._say(
                f"another gateway on this machine (process {processes}) scales {', '.join(come)} too; neither knows "
                "which engines the other starts, nor on which GPUs"
            )
        if gone:
            self._say(f"no other gateway on this machine scales {', '.join(gone)} any more")


def _rules_of(config: Config) -> dict[str, ScalingRule]:
    """Say by which rule the replicas of each model are scaled that is to be."""
    tables = {name: model.scaling for name, model in config.models.items() if model.engine != "remote"}
    return {
        name: ScalingRule(each.min, each.max, each.target, each.idle, each.keep)
        for name, each in tables.items()
        if each is not None
    }
