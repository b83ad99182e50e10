"""How many tokens a batch should have: measured with the model itself, when it is loaded.

A larger batch spares the calls between layers and uses caches better, up to a knee; beyond it the speed stays and only
the wait grows, for all who are in the batch and all behind it. Where the knee is depends on the model and the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

SHORT = 16
"""Tokens of a text that is measured with: batches matter most to short ones."""

_MOST_TEXTS = 256
_GOOD_ENOUGH = 0.95
"""The smallest batch with this share of the greatest speed is at the knee: what is left is not worth the wait."""

_ROOM = 2
"""The budget is so many times the knee: texts seldom fill a batch to its brim, and half a batch is at the knee."""

_GAIN = 1.02
"""A batch twice as large has to be so much faster for a still larger one to be tried."""

_LONGEST_SECONDS = 0.07
"""The knee is not beyond this: a batch of twice the time keeps others waiting long enough, however fast it is."""

_TRIES = 3
_CLOCK_STEP = 0.001
"""What a run counts during which the clock never moves: less than it can tell."""

_REPEATS = 8
_SECONDS = 0.7
"""The measurement ends after so much of the thread's own time, at the latest after the batch that runs then."""

_PATIENCE = 1.0
"""It ends after so many seconds at all, for on a busy machine the thread's own time is long in coming."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The most tokens of a batch, and how many tokens one thread computes in a second in such batches."""

    tokens: int
    rate: float

    def __str__(self) -> str:
        return f"{self.rate:.0f} tokens/s each in batches of {self.tokens}"


def fit(seconds: Callable[[int], float], length: int) -> Budget:
    """Find the budget. ``seconds`` runs so many texts of ``length`` tokens as one batch and says how long it took.

    It should be the thread's own time, in which a busy machine hardly shows. Of several runs the shortest counts:
    other load only ever makes them longer.
    """
    seconds = _positive(seconds)
    best: dict[int, float] = {}
    end = monotonic() + _PATIENCE
    spent = 0.0
    texts = 1
    while texts <= _MOST_TEXTS:
        best[texts] = min(seconds(texts), seconds(texts)) if texts == 1 else seconds(texts)
        spent += best[texts]
        if spent > _SECONDS or monotonic() > end or best[texts] > _LONGEST_SECONDS or _stopped_gaining(best, texts):
            break
        texts *= 2
    for _ in range(_REPEATS - 1):
        for texts, known in best.items():
            if spent + known > _SECONDS or monotonic() > end:
                continue
            taken = seconds(texts)
            spent += taken
            best[texts] = min(known, taken)
    rates = {texts: texts * length / taken for texts, taken in best.items()}
    allowed = [texts for texts, taken in best.items() if taken <= _LONGEST_SECONDS] or [1]
    fastest = max(rates[texts] for texts in allowed)
    knee = next(texts for texts in allowed if rates[texts] >= _GOOD_ENOUGH * fastest)
    return Budget(knee * length * _ROOM, rates[knee])


def _positive(seconds: Callable[[int], float]) -> Callable[[int], float]:
    """Repeat a run during which the clock of the thread's own time has not moved; a virtual machine's may stand."""

    def measured(texts: int) -> float:
        taken = next((taken for _ in range(_TRIES) if (taken := seconds(texts)) > 0), 0.0)
        return taken or _CLOCK_STEP

    return measured


def _stopped_gaining(best: dict[int, float], texts: int) -> bool:
    """Say whether the last two steps brought nothing; one alone may be noise."""
    if texts < 4:
        return False
    rate = {each: each / best[each] for each in (texts, texts // 2, texts // 4)}
    return max(rate[texts], rate[texts // 2]) < _GAIN * rate[texts // 4]
