"""How many steps fit into a time budget, and the learning rate over them.

The rate rises linearly over the first tenth and falls linearly to zero at the last step, wherever that is: a budgeted
schedule (Li, Yumer, Ramanan: Budgeted Training, 2020) makes the most of however many steps there are. The number of
steps follows the pace: it changes when the pace says that it is off by more than a tenth, so that the same data with
time enough is always trained in the same steps.
"""

from __future__ import annotations

from typing import Any

_WARM_UP = 0.1
_TOLERANCE = 0.1
_PACE_STEPS = 10
"""Over how many steps the pace is averaged, about."""


class Schedule:
    """Steps taken and steps to take, of ``most_steps``, in ``budget`` seconds of which ``seconds`` are spent."""

    def __init__(self, most_steps: int, budget: float, pace: float) -> None:
        """Plan with a ``pace`` in seconds a step, and at least one step."""
        self.most_steps = most_steps
        self.budget = budget
        self.pace = pace
        self.step = 0
        self.seconds = 0.0
        self.total = self._fitting()
        self._warm_up = max(1, round(self.total * _WARM_UP))

    def __repr__(self) -> str:
        return f"<Schedule [step {self.step} of {self.total}; {self.seconds:.0f} of {self.budget:.0f} s]>"

    @property
    def done(self) -> bool:
        """Whether all steps are taken."""
        return self.step >= self.total

    @property
    def rate(self) -> float:
        """The factor of the learning rate for the next step, above 0 and at most 1."""
        rising = (self.step + 1) / self._warm_up
        falling = (self.total - self.step) / max(1, self.total - self._warm_up)
        return max(0.0, min(1.0, rising, falling))

    @property
    def seconds_left(self) -> float:
        """How long the steps to take will take."""
        return (self.total - self.step) * self.pace

    def advance(self, seconds: float) -> None:
        """Count a step that took so long, and plan again if the pace has changed."""
        self.step += 1
        self.seconds += seconds
        self.pace += (seconds - self.pace) / min(self.step + 1, _PACE_STEPS)
        fitting = self._fitting()
        if abs(fitting - self.total) > _TOLERANCE * (self.total - self.step):
            self.total = fitting

    def spend(self, seconds: float) -> None:
        """Count time that no step has taken."""
        self.seconds += seconds

    def state(self) -> dict[str, Any]:
        """Give what ``restore`` takes."""
        return {name: getattr(self, name) for name in _STATE}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another schedule was."""
        for name in _STATE:
            setattr(self, name, state[name])

    def _fitting(self) -> int:
        left = max(0.0, self.budget - self.seconds)
        steps = self.step + int(left / self.pace) if self.pace > 0 else self.most_steps
        return max(1, self.step, min(self.most_steps, steps))


_STATE = ("most_steps", "budget", "pace", "step", "seconds", "total", "_warm_up")
