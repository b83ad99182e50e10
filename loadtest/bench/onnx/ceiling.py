"""The most that a machine can get out of a model: ONNX Runtime alone, with all texts known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter, process_time, sleep

from engines.onnx.model.model import Model
from engines.onnx.model.tokens import TokenIds

_BUDGETS = (64, 128, 256, 512)
"""Sizes of batches to try, in tokens; the best one counts."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """How many texts and tokens all threads together compute in a second, in batches of how many tokens.

    ``cpu`` is the processor's time for a text, in seconds: it tells the same on a machine that has other things to do.
    """

    texts: float
    tokens: float
    cpu: float
    budget: int


def ceiling(model: Model, texts: Sequence[TokenIds], threads: int, seconds: float) -> Ceiling:
    """Run texts for about ``seconds``, sorted by length, in as many threads as a server would, and take the best."""
    return min((_run(model, texts, threads, seconds / len(_BUDGETS), each) for each in _BUDGETS), key=_cpu)


def batches(texts: Sequence[TokenIds], budget: int) -> list[list[TokenIds]]:
    """Cut texts into batches of like lengths, with at most ``budget`` tokens each, padding included."""
    found: list[list[TokenIds]] = []
    for text in sorted(texts, key=len):
        if found and (len(found[-1]) + 1) * len(text) <= budget:
            found[-1].append(text)
        else:
            found.append([text])
    return found


def lone(model: Model, text: TokenIds, seconds: float, pause: float = 0.0) -> list[float]:
    """Return the seconds of each run of one text, one after the other in one thread with nothing beside it.

    A ``pause`` in seconds between them is not counted, but felt: a processor that had nothing to do is slower at first.
    """
    found = []
    end = perf_counter() + seconds
    while (start := perf_counter()) < end:
        model.compute([text])
        found.append(perf_counter() - start)
        sleep(pause)
    return found


def _run(model: Model, texts: Sequence[TokenIds], threads: int, seconds: float, budget: int) -> Ceiling:
    cut = batches(texts, budget)
    done = tokens = 0
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(model.compute, cut[:threads]))
        start, used = perf_counter(), process_time()
        while perf_counter() - start < seconds:
            for _ in pool.map(model.compute, cut):
                pass
            done += len(texts)
            tokens += sum(map(len, texts))
        taken = perf_counter() - start
    return Ceiling(done / taken, tokens / taken, (process_time() - used) / done, budget)


def _cpu(found: Ceiling) -> float:
    return found.cpu
