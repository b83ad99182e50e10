"""Numbers of replicas that operators have fixed by command: they hold instead of rules, until the next reload.

It is what ``kubectl scale`` does to a Deployment, but that no autoscaler changes it back a moment later.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config.models import LocalModel
from gateway.config.schema import Config
from gateway.core.errors import BadRequest, ModelNotFound
from gateway.pools.pool import Pool
from gateway.scaling.decide import ScalingRule
from gateway.scaling.scaler import Scaler

MOST_REPLICAS = 64
"""As many as a configuration may ask for."""


class FixedNumbers:
    """The scaler as operators command it; ``follow`` tells it of the configuration in force."""

    def __init__(self, scaler: Scaler) -> None:
        self._scaler = scaler
        self._numbers: dict[str, int] = {}
        self._rules: Mapping[str, ScalingRule] = {}
        self._pools: Mapping[str, Pool] = {}

    def __repr__(self) -> str:
        return f"<FixedNumbers {self._numbers}>"

    def follow(self, rules: Mapping[str, ScalingRule], pools: Mapping[str, Pool]) -> None:
        """Scale these models from now on, by these rules where nothing is fixed; ``pools`` are those of all models."""
        self._rules, self._pools = rules, pools
        self._numbers = {name: number for name, number in self._numbers.items() if name in pools}
        self._apply()

    def forget(self) -> None:
        """Go by the configuration alone again."""
        self._numbers.clear()
        self._apply()

    def scale(self, config: Config, name: str, replicas: int | None) -> None:
        """Fix the number of a model's replicas; ``None``: go by the configuration again.

        With 0 a model that may have none loses all, until a request comes. Raises ``BadRequest`` or
        ``ModelNotFound``, and changes nothing.
        """
        check(config, name, replicas)
        if replicas:
            self._numbers[name] = replicas
        else:
            self._numbers.pop(name, None)
        self._apply()
        if replicas == 0:
            self._scaler.scale_to_zero(name)

    def _apply(self) -> None:
        fixed = {name: ScalingRule(number, number, 1.0, 0.0, fixed=True) for name, number in self._numbers.items()}
        self._scaler.apply({**self._rules, **fixed}, self._pools)


def check(config: Config, name: str, replicas: int | None) -> None:
    """Find out whether a model can have so many replicas. Raises ``BadRequest`` or ``ModelNotFound``."""
    settings = config.models.get(name)
    if settings is None:
        known = ", ".join(each for each, model in config.models.items() if isinstance(model, LocalModel))
        raise ModelNotFound(
            f"There is no model {name[:200]!r} of this configuration; those whose engines run here: {known or 'none'}.",
            param="name",
        )
    if not isinstance(settings, LocalModel):
        raise BadRequest(
            f"The replicas of {name!r} run elsewhere, and are scaled by what runs them.",
            param="name",
            code="not_local",
        )
    if replicas is not None and not 0 <= replicas <= MOST_REPLICAS:
        raise BadRequest(f"Expected a number of replicas from 0 to {MOST_REPLICAS}, not {replicas}.", param="replicas")
    if replicas == 0 and not settings.from_zero:
        raise BadRequest(
            f"Without any replica {name!r} could not be asked: only one with scaling.min = 0 is woken by a request.",
            param="replicas",
        )
