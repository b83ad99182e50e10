"""What is counted of the clients' side of the wire: what is held now, and what limits have refused."""

from __future__ import annotations

from dataclasses import dataclass, field


def _none_refused() -> dict[str, int]:
    return {"max_connections": 0, "max_connections_per_client": 0, "max_total_body_bytes": 0}


# A dataclass, because it changes with each request; see ``struct-set`` in docs/python-idioms.md.
@dataclass(slots=True)
class WireCounts:
    """Connections and bodies of one listener, or the sum over several."""

    connections: int = 0
    """Open now."""
    body_bytes: int = 0
    """Held now, of requests that arrive, wait or are being answered; bodies that are streamed are not in it."""
    refused: dict[str, int] = field(default_factory=_none_refused)
    """Connections and requests refused, by the option of ``[gateway.limits]`` that refused them."""

    def add(self, other: WireCounts) -> None:
        """Count what another process has counted."""
        self.connections += other.connections
        self.body_bytes += other.body_bytes
        for limit, number in other.refused.items():
            self.refused[limit] = self.refused.get(limit, 0) + number

    def hold_nothing(self) -> None:
        """Forget what was held: its process has ended."""
        self.connections = self.body_bytes = 0
