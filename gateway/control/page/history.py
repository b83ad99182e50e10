"""The last hour in memory, as rings of numbers that are overwritten as time goes by.

A ring is one array of 32-bit floats: 13 columns of 240 steps of 15 s, which is 12.5 kB. A model has one from its first
request on, until it is no longer configured; so a thousand models that are all asked take 12.5 MB, and those that
nobody asks nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping
from math import isnan, nan

STEP_SECONDS = 15
STEPS = 240

COLUMNS = (
    "requests",
    "errors",
    "refused",
    "input_tokens",
    "output_tokens",
    "running",
    "waiting",
    "ready",
    "ttft_p50",
    "ttft_p95",
    "e2e_p50",
    "e2e_p95",
    "tpot_p50",
)
"""Rates per second; then the most that was running and waiting, and the fewest ready, of what was sampled within the
step; then quantiles of the requests that ended within it, in seconds."""

_MOST, _FEWEST = ("running", "waiting"), ("ready",)


class Ring:
    """The last hour of one model, or of all together. A step without a number is NaN."""

    def __init__(self) -> None:
        self._numbers = array("f", [nan]) * (STEPS * len(COLUMNS))
        self._latest: int | None = None
        """The step that was written last, counted from the beginning of Unix time."""

    def __repr__(self) -> str:
        return f"<Ring [{len(COLUMNS)} x {STEPS}]>"

    @property
    def size(self) -> int:
        """Bytes of the numbers."""
        return len(self._numbers) * self._numbers.itemsize

    def write(self, step: int, numbers: Mapping[str, float | None]) -> None:
        """Write the numbers of a step; the latest step may be written again as more is known of it."""
        same = step == self._latest
        self._forget_until(step)
        start = step % STEPS * len(COLUMNS)
        for at, name in enumerate(COLUMNS, start):
            number = numbers[name]
            value = nan if number is None else number
            if same and name in _MOST:
                value = max(value, self._numbers[at])
            elif same and name in _FEWEST:
                value = min(value, self._numbers[at])
            self._numbers[at] = value

    def read(self, step: int) -> dict[str, list[float]]:
        """Give each column of the hour that ends with a step, the oldest number first."""
        self._forget_until(step)
        first = (step + 1) % STEPS
        width = len(COLUMNS)
        result = {}
        for at, name in enumerate(COLUMNS):
            column = self._numbers[at::width]
            result[name] = [*column[first:], *column[:first]]
        return result

    def mean(self, column: str, step: int, steps: int) -> float:
        """Give the mean of a column over so many steps up to this one, of those that have a number; 0 if none has."""
        self._forget_until(step)
        at = COLUMNS.index(column)
        numbers = [self._numbers[each % STEPS * len(COLUMNS) + at] for each in range(step - steps + 1, step + 1)]
        known = [number for number in numbers if not isnan(number)]
        return sum(known) / len(known) if known else 0.0

    def _forget_until(self, step: int) -> None:
        """Overwrite the steps that nobody has written, up to this one."""
        if self._latest is None:
            self._latest = step
        width = len(COLUMNS)
        for each in range(max(self._latest + 1, step - STEPS + 1), step + 1):
            start = each % STEPS * width
            self._numbers[start : start + width] = array("f", [nan]) * width
        self._latest = max(step, self._latest)


class History:
    """A ring for each model that was asked, and one for all together."""

    def __init__(self) -> None:
        self.all = Ring()
        self._models: dict[str, Ring] = {}

    def __repr__(self) -> str:
        return f"<History of {len(self._models)} models [{self.size} bytes]>"

    @property
    def size(self) -> int:
        """Bytes of all rings."""
        return sum(ring.size for ring in [self.all, *self._models.values()])

    def write(self, model: str, step: int, numbers: Mapping[str, float | None]) -> None:
        """Write a step of a model; one that has had no request yet, and has none now, takes no memory."""
        ring = self._models.get(model)
        if ring is None:
            if not any(numbers[name] for name in ("requests", "refused", "running", "waiting")):
                return
            ring = self._models[model] = Ring()
        ring.write(step, numbers)

    def of(self, model: str) -> Ring | None:
        """Give the ring of a model; ``None`` as long as nobody has asked it."""
        return self._models.get(model)

    def keep(self, models: Collection[str]) -> None:
        """Forget the models that there are no longer."""
        for name in self._models.keys() - set(models):
            del self._models[name]


def times(step: int) -> Iterable[int]:
    """Give the Unix times of the hour that ends with a step."""
    return range((step - STEPS + 1) * STEP_SECONDS, (step + 1) * STEP_SECONDS, STEP_SECONDS)
