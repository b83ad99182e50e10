"""Relays what engines measure of themselves: those on Unix sockets are out of Prometheus's reach otherwise.

They keep their names and get the labels ``model`` and ``replica``. A label that an engine has of one of these names is
called ``exported_model`` or ``exported_replica``, as Prometheus itself would call it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import aiohttp
from prometheus_client import Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from gateway.pools.pool import Pool
from gateway.pools.replica import Replica, ReplicaState

_SECONDS = 5.0
"""Longest wait for one engine; Prometheus itself waits ten seconds by default."""

_MAX_BYTES = 2 * 1024 * 1024
"""More than this is not read of one engine's metrics: some 20,000 series, far more than vLLM has, which take two
seconds or three to parse."""

_HEADERS = {"accept": "text/plain;version=0.0.4", "accept-encoding": "identity"}
"""What is compressed could be a thousand times as large as what was read."""

_ASKED = frozenset(
    {ReplicaState.READY, ReplicaState.FAILING, ReplicaState.EJECTED, ReplicaState.HALF_OPEN, ReplicaState.DRAINING}
)
"""The states in which a replica has a server that can be asked."""


class EngineMetrics(Collector):
    """The metrics of several engines, as families that each have the samples of all of them.

    ``headgate_engine_metrics_up`` says of each engine whether its metrics could be read.
    """

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}
        self._up = GaugeMetricFamily(
            "headgate_engine_metrics_up",
            "Whether the metrics of a replica's engine could be read.",
            labels=("model", "replica"),
        )

    def __repr__(self) -> str:
        return f"<EngineMetrics of {len(self._up.samples)} engines [{len(self._families)} families]>"

    def collect(self) -> Iterable[Metric]:
        """Give every family."""
        return [*self._families.values(), self._up]

    def add(self, pool: str, replica: str, text: str | None) -> None:
        """Take what an engine has answered, ``None`` for nothing; what is no metrics counts as nothing."""
        labels = {"model": pool, "replica": replica}
        try:
            families = None if text is None else list(text_string_to_metric_families(text))
        except (ValueError, IndexError):  # the parser raises the latter where a label has no name
            families = None
        for family in families or ():
            if family.name == self._up.name:
                # Another gateway's: two families of one name are no metrics that Prometheus could read.
                continue
            known = self._families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                # Without a time of its own: Prometheus refuses the whole page for one that is out of bounds.
                of_replica = labels | dict(_exported(sample.labels))
                known.samples.append(sample._replace(labels=of_replica, timestamp=None))
        self._up.add_metric((pool, replica), float(families is not None))


async def read_engine_metrics(pools: Iterable[Pool], replica: str | None) -> bytes:
    """Ask the engines of all replicas, or of one, side by side, and write what they answer as text."""
    asked = [
        (pool.name, each)
        for pool in pools
        for each in pool.replicas
        if each.state in _ASKED and replica in (None, each.name)
    ]
    answers = await asyncio.gather(*(_ask(each) for _, each in asked))
    # This takes milliseconds for each engine, and seconds for one that says too much: probes are answered meanwhile.
    return await asyncio.to_thread(_together, [(pool, each.name) for pool, each in asked], answers)


def _together(asked: Iterable[tuple[str, str]], answers: Iterable[str | None]) -> bytes:
    """Write what the replicas of pools have answered as one text."""
    collected = EngineMetrics()
    for (pool, replica), text in zip(asked, answers, strict=True):
        collected.add(pool, replica, text)
    return generate_latest(collected)


async def _ask(replica: Replica) -> str | None:
    """Ask one engine for its metrics; ``None`` if it has none, or is too slow, or says too much."""
    address = replica.address
    connector = aiohttp.TCPConnector() if address.path is None else aiohttp.UnixConnector(address.path)
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, headers=_HEADERS | _credentials(replica), auto_decompress=False
            ) as http,
            http.get(_url(replica)) as response,
        ):
            if response.status != 200:
                return None
            data = bytearray()
            async for piece in response.content.iter_any():
                data += piece
                if len(data) > _MAX_BYTES:
                    return None
    except (aiohttp.ClientError, TimeoutError):
        return None
    return data.decode(errors="replace")


def _url(replica: Replica) -> str:
    """Give the address of the metrics; the host of a Unix socket is a formality."""
    address = replica.address
    scheme = "https" if address.tls else "http"
    return f"{scheme}://{(address.host_header + address.target(b'/metrics')).decode('ascii')}"


def _credentials(replica: Replica) -> dict[str, str]:
    lines = (line.partition(b": ") for line in replica.headers.split(b"\r\n"))
    return {name.decode(): value.decode() for name, _, value in lines if name == b"authorization"}


def _exported(labels: dict[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in labels.items():
        yield (f"exported_{name}" if name in ("model", "replica") else name), value
