"""What a load consists of: kinds of requests, how often each is asked, and of which model."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from loadtest.workload import WORKLOADS


class MixError(ValueError):
    """A mix or its models cannot be read; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of request, the model that it asks, and its share of all requests (0 to 1)."""

    kind: str
    model: str
    share: float


def weights(given: str) -> dict[str, float]:
    """Read ``chat=6,embeddings=3``. Raises ``MixError``."""
    found: dict[str, float] = {}
    for each in given.split(","):
        kind, separator, number = each.strip().partition("=")
        if kind not in WORKLOADS:
            raise MixError(f"{kind!r} is not a workload; there are {', '.join(WORKLOADS)}")
        if kind in found:
            raise MixError(f"{kind} stands in it twice")
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if not separator or not 0 < weight < float("inf"):
            raise MixError(f"{each.strip()!r} has no weight; one is {kind}=3, a positive number")
        found[kind] = weight
    return found


def mix(weighed: Mapping[str, float], models: Iterable[str]) -> list[Part]:
    """Say which model each kind asks. Raises ``MixError``.

    ``models`` are ``NAME``, for all kinds that nothing else is said about, or ``KIND=NAME``.
    """
    default: str | None = None
    own: dict[str, str] = {}
    for given in models:
        kind, separator, name = given.partition("=")
        if not given or (separator and not name):
            raise MixError(f"{given!r} names no model")
        if separator and kind in WORKLOADS:
            if kind not in weighed:
                raise MixError(f"{given!r}: no {kind} is asked for; the workloads are {', '.join(weighed)}")
            if kind in own:
                raise MixError(f"{kind} has two models, {own[kind]!r} and {name!r}")
            own[kind] = name
        elif default is not None:
            raise MixError(f"two models for everything, {default!r} and {given!r}; one for a workload is KIND=NAME")
        else:
            default = given
    total = sum(weighed.values())
    parts = []
    for kind, weight in weighed.items():
        model = own.get(kind, default)
        if model is None:
            raise MixError(f"{kind} has no model; give --model {kind}=NAME")
        parts.append(Part(kind, model, weight / total))
    return parts


def drawn(parts: Sequence[Part], number: int, seed: int | str) -> list[Part]:
    """Draw which kind each of ``number`` requests is."""
    if len(parts) == 1:
        return [parts[0]] * number
    draw = random.Random(f"mix {seed}")  # noqa: S311 - a reproducible load, nothing secret
    return draw.choices(parts, [part.share for part in parts], k=number)
