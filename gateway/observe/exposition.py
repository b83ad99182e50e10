"""What Prometheus reads at a scrape: one row of a table for each family of metrics.

Every series of a configured model exists from the start, so that a query at zero replicas finds a zero and not a gap.

Figures of requests (counters and histograms) are per model. Gauges of a pool are shown once, with the name of the pool,
which is that of its first model, as ``model``: models that share a pool share its slots and its queue, and a ``sum``
must not count those twice. ``headgate_model_info`` tells the pool of each model, to join the two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from time import perf_counter, sleep

from prometheus_client import ProcessCollector

from gateway.observe.counters import Counters
from gateway.observe.families.batches import BATCHES
from gateway.observe.families.pools import POOLS
from gateway.observe.families.process import PROCESS
from gateway.observe.families.replicas import REPLICAS
from gateway.observe.families.requests import REQUESTS
from gateway.observe.families.row import Scrape
from gateway.observe.text_format import Family, Kind, pieces_of
from gateway.pools.registry import Registry
from gateway.scaling.scaler import ScaledModel

_REST_SECONDS = 0.0001
"""How long a scrape rests after each family."""

_FAMILIES = (*REQUESTS, *POOLS, *REPLICAS, *BATCHES, *PROCESS)


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

    def __repr__(self) -> str:
        return f"<Exposition of {len(_FAMILIES)} families>"

    def counters(self) -> Counters:
        """Give what was counted so far."""
        return self._counters()

    def text(self, *, openmetrics: bool = False) -> bytes:
        """Write every family."""
        return b"".join(self.pieces(openmetrics=openmetrics))

    def pieces(self, *, openmetrics: bool = False) -> Sequence[bytes]:
        """Write every family, as pieces of some hundred kilobytes at most: a thousand models are 15 MB.

        Resting in between leaves the interpreter to the data plane, whose events would else wait for the whole scrape.
        """
        pieces: list[bytes] = []
        for family in self._families():
            pieces += pieces_of(family, openmetrics=openmetrics)
            sleep(_REST_SECONDS)
        if openmetrics:
            pieces.append(b"# EOF\n")
        return pieces

    def _families(self) -> Iterator[Family]:
        registry, counters = self._registry(), self._counters()
        for model in registry.models:
            counters.of(model.name)
        now = perf_counter()
        loads = [(pool, pool.load(now)) for pool in registry.pools]
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
        )
        for row in _FAMILIES:
            yield row.read(scrape)
        for metric in self._process.collect():
            samples = [(tuple(each.labels.values()), each.value) for each in metric.samples]
            yield Family(Kind(metric.type), metric.name, metric.documentation, (), samples)
