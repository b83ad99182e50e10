"""What takes the requests of a gateway, as those see it who build, start, change and end it."""

from __future__ import annotations

from typing import Protocol

from gateway.config.schema import Config
from gateway.control.view import PlaneView
from gateway.core.limits import UsageStore
from gateway.drain import Drainable
from gateway.observe.exposition import Exposition
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica


class Plane(Drainable, PlaneView, Protocol):
    """A ``DataPlane`` in this process, or a ``Parent`` of several."""

    @property
    def exposition(self) -> Exposition:
        """What Prometheus reads."""

    @property
    def usage(self) -> UsageStore:
        """What keys and groups have used."""

    @property
    def address(self) -> str:
        """Where clients ask, once it has started; the real port, where 0 was asked for."""

    async def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Ask a path of the gateway itself; give status and body of the response. Raises ``ConnectionError``."""

    def renew_certificate(self, config: Config) -> None:
        """Use the certificate that its files hold now, if there is one. Raises ``StartError``, and changes nothing."""

    def apply(self, config: Config, registry: Registry) -> None:
        """Go by another configuration from now on, but for what is read at the start only."""

    def show_load(self, replica: Replica) -> None:
        """Take over what the engine of a replica says of its load."""

    async def start(self) -> None:
        """Listen. Raises ``StartError``."""

    async def stop(self) -> None:
        """Close everything; harmless before the start."""
