"""What the control plane sees of a gateway, as a test makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

from gateway.control.view import GatewayView
from gateway.core.keys import Key
from gateway.pools.adapters import AdapterState, AdapterStatus
from gateway.pools.model import Model
from gateway.pools.registry import Registry


@dataclass
class Plane:
    """Something that takes requests, and how often it was asked to count."""

    registry: Registry = field(default_factory=lambda: Registry(()))
    keyring: Sequence[Key] = ()
    draining: bool = False
    last_tick: float = field(default_factory=monotonic)
    troubles: Sequence[str] = ()
    processes: Sequence[Mapping[str, object]] = ()
    counted: int = 0

    async def count(self) -> None:
        self.counted += 1


def view_of(plane: Plane) -> GatewayView:
    """Show a gateway whose engines all run elsewhere, and whose replicas have every adapter."""
    return GatewayView(plane, local_models=dict, adapter_statuses=_loaded)


def _loaded(adapter: Model) -> Sequence[AdapterStatus]:
    return [AdapterStatus(adapter.name, replica.name, AdapterState.LOADED) for replica in adapter.pool.replicas]
