"""What the control plane may see of the gateway. It is read from another thread, and never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.keys import Key
from gateway.pools.adapters import AdapterStatus
from gateway.pools.model import Model
from gateway.pools.registry import Registry
from gateway.scaling.scaler import ScaledModel


class PlaneView(Protocol):
    """What takes the requests: one process, or several."""

    @property
    def registry(self) -> Registry:
        """The models in force, with what is known of their replicas."""

    @property
    def keyring(self) -> Iterable[Key]:
        """The keys in force, with what they have used of their limits."""

    @property
    def draining(self) -> bool:
        """Whether the gateway is about to stop."""

    @property
    def last_tick(self) -> float:
        """When the loop that is most behind ticked last, as a ``monotonic`` reading."""

    @property
    def troubles(self) -> Sequence[str]:
        """Why no model can be asked at all."""

    @property
    def processes(self) -> Sequence[Mapping[str, object]]:
        """The process id, state and connections of each process that takes requests, if there are several."""

    async def count(self) -> None:
        """Bring the metrics up to date, where that takes asking. Awaited on the control plane's loop."""


@dataclass(frozen=True, slots=True)
class GatewayView:
    """The gateway as operators see it, each part given by who owns it."""

    plane: PlaneView
    local_models: Callable[[], Mapping[str, ScaledModel | None]]
    """Gives the models whose engines run here, each with how it is scaled, if it is."""
    adapter_statuses: Callable[[Model], Sequence[AdapterStatus]]
    """Tells how a LoRA adapter stands at each replica of its base."""
