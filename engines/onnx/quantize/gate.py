"""What a variant must reach before it may take the model's place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found out about one variant, or about the model itself, which is its own yardstick.

    ``seconds`` is the time for the sample's batches in one thread, ``speedup`` and ``size`` are ratios to the model,
    ``accuracy`` is a share from 0 to 1 and ``accuracy_loss`` in points of a hundred. ``flips`` are the answers that
    differ from the model's, ``neighbour_flips`` those that differ between a text alone and the same text among others,
    both in percent. ``shift`` is the greatest change of a probability (classifier) or of the cosine (embedder) against
    the model, ``neighbour_shift`` the same between alone and among others. ``shapes`` are milliseconds by
    ``texts x tokens``.
    """

    name: str
    bytes: int
    size: float
    seconds: float
    speedup: float
    accuracy: float
    accuracy_loss: float
    flips: float
    shift: float
    neighbour_flips: float
    neighbour_shift: float
    shapes: dict[str, float]


@dataclass(frozen=True)
class Gate:
    """The limits; see ``Measured`` for the units."""

    min_speedup: float = 2.0
    max_accuracy_loss: float = 0.5
    max_neighbour_flips: float = 0.1
    max_size: float = 0.35

    def failures(self, measured: Measured) -> list[str]:
        """Say what a variant misses, each with what was measured and what was wanted; empty if it may pass."""
        return list(self._failures(measured))

    def choose(self, variants: list[Measured]) -> Measured | None:
        """Choose among those that pass the one whose answers differ least from the model's."""
        passing = [variant for variant in variants if not self.failures(variant)]
        return min(passing, key=lambda variant: (variant.flips, variant.shift), default=None)

    def _failures(self, m: Measured) -> Iterator[str]:
        if m.speedup < self.min_speedup:
            yield f"{m.speedup:.2f} times faster, at least {self.min_speedup:g} wanted"
        if m.accuracy_loss > self.max_accuracy_loss:
            yield f"loses {m.accuracy_loss:.2f} points of accuracy, at most {self.max_accuracy_loss:g} allowed"
        if m.neighbour_flips > self.max_neighbour_flips:
            yield f"{m.neighbour_flips:.2f} % flips by batch neighbours, at most {self.max_neighbour_flips:g} % allowed"
        if m.size > self.max_size:
            yield f"{m.size:.2f} times the size, at most {self.max_size:g} allowed"
