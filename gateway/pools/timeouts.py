"""How long the parts of a request may take at the replicas of a pool."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from gateway.config.gateway import Timeouts as GatewayTimeouts
from gateway.config.model_timeouts import ModelTimeouts


class Timeouts(NamedTuple):
    """How long the parts of a request may take at the replicas of a pool, in seconds."""

    connect: float
    """Until a connection is accepted."""
    first_byte: float
    """Until the response begins."""
    between_bytes: float
    """Silence within the response."""
    total: float
    """The whole request, from when it came."""

    @classmethod
    def of(cls, own: ModelTimeouts, defaults: GatewayTimeouts) -> Timeouts:
        """Take a model's own timeouts, and those of the gateway where it has none."""
        given = own.model_dump(exclude_none=True)
        return cls(*(given.get(name, getattr(defaults, name)) for name in cls._fields))


NO_TIMEOUTS = Timeouts(inf, inf, inf, inf)
"""Those of a pool that was given none."""
