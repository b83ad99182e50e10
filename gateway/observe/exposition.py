"""What Prometheus reads at a scrape: one row of a table for each family of metrics.

Every series of a configured model exists from the start, so that a query at zero replicas finds a zero and not a gap.

Figures of requests (counters and histograms) are per model. Gauges of a pool are shown once, with the name of the pool,
which is that of its first model, as ``model``: models that share a pool share its slots and its queue, and a ``sum``
must not count those twice. ``headgate_model_info`` tells the pool of each model, to join the two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from time import perf_counter, sleep

from prometheus_client import ProcessCollector

from gateway.observe.counters import Counters
from gateway.observe.families.batches import BATCHES
from gateway.observe.families.pools import POOLS
from gateway.observe.families.process import PROCESS
from gateway.observe.families.replicas import REPLICAS
from gateway.observe.families.requests import REQUESTS
from gateway.observe.families.row import Scrape
from gateway.observe.families.tuning import TUNING
from gateway.observe.text_format import Family, Kind, pieces_of
from gateway.pools.registry import Registry
from gateway.scaling.scaler import ScaledModel
from gateway.tuning.job_tally import JobTally

_WORK_SECONDS, _REST_SECONDS = 0.0003, 0.0002
"""How long a scrape works before it rests, and how long it rests."""

_FAMILIES = (*REQUESTS, *POOLS, *REPLICAS, *BATCHES, *TUNING, *PROCESS)


class Exposition:
    """Turns counters and pools into what Prometheus reads, at each scrape, on the control plane's thread.

    ``counters`` gives those of this process, or the sum over several.
    """

    def __init__(
        self,
        counters: Callable[[], Counters],
        registry: Callable[[], Registry],
        version: str,
        commit: str,
    ) -> None:
        self._counters = counters
        self._registry = registry
        self._build = (version, commit)
        self._process = ProcessCollector(registry=None)
        self.last_reload_successful = True
        self.scaled: Callable[[], Collection[ScaledModel]] = tuple
        """The models whose replicas follow their demand."""
        self.limits_shared: bool | None = None
        """Whether limits are shared with other nodes; ``None`` where they need not be."""
        self.ray_up: bool | None = None
        """Whether the head of the Ray cluster answers; ``None`` where there is none."""
        self.tuning_jobs: Callable[[], JobTally | None] = lambda: None
        """The fine-tuning jobs; ``None`` where there is nothing to tune."""

    def __repr__(self) -> str:
        return f"<Exposition of {len(_FAMILIES)} families>"

    def counters(self) -> Counters:
        """Give what was counted so far."""
        return self._counters()

    def text(self, *, openmetrics: bool = False) -> bytes:
        """Write every family."""
        return b"".join(self.pieces(openmetrics=openmetrics))

    def pieces(self, *, openmetrics: bool = False) -> Iterator[bytes]:
        """Write every family, as pieces of some tens of kilobytes: a thousand models are 15 MB.

        It rests often. Whoever works all the time gets the interpreter back at each call of the data plane into the
        system, of which a token needs several, and makes it wait for the switch interval each time.
        """
        rests, written = _Rests(), []
        for family in self._families(rests):
            for piece in pieces_of(family, openmetrics=openmetrics):
                written.append(piece)
                if rests.due:
                    yield b"".join(written)
                    written.clear()
                    rests.rest()
        if openmetrics:
            written.append(b"# EOF\n")
        if written:
            yield b"".join(written)

    def _families(self, rests: _Rests) -> Iterator[Family]:
        registry, counters = self._registry(), self._counters()
        for model in registry.models:
            counters.of(model.name)
        loads = []
        for pool in registry.pools:
            loads.append((pool, pool.load(perf_counter())))
            if rests.due:
                rests.rest()
        scrape = Scrape(
            registry,
            counters,
            sorted(counters.models().items()),
            loads,
            self._build,
            self.last_reload_successful,
            self.scaled(),
            self.limits_shared,
            self.ray_up,
            self.tuning_jobs(),
        )
        for row in _FAMILIES:
            yield row.read(scrape)
        for metric in self._process.collect():
            samples = [(tuple(each.labels.values()), each.value) for each in metric.samples]
            yield Family(Kind(metric.type), metric.name, metric.documentation, (), samples)


class _Rests:
    """Lets other threads have the interpreter for a moment after each moment of work."""

    def __init__(self) -> None:
        self._until = perf_counter() + _WORK_SECONDS

    @property
    def due(self) -> bool:
        """Whether this has worked for long enough."""
        return perf_counter() >= self._until

    def rest(self) -> None:
        """Rest, and begin anew."""
        sleep(_REST_SECONDS)
        self._until = perf_counter() + _WORK_SECONDS
