"""The data plane: what takes requests at the listener, decides, relays, and accounts for them, on one event loop."""

from __future__ import annotations

import asyncio
import os
import ssl
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from gateway.api.batch_lines import BatchLines
from gateway.api.internal_head import internal_head
from gateway.api.pipeline import Pipeline
from gateway.api.snapshot import Snapshot
from gateway.batches.runner import BatchRunner
from gateway.batches.store import BatchStore
from gateway.config.schema import Config
from gateway.config.tracing import settings_of
from gateway.core.context import INTERNAL, RequestContext
from gateway.core.keys import Keyring
from gateway.core.limits import LocalUsage, UsageStore
from gateway.core.load_shedding import LoadShedding
from gateway.core.start_error import StartError
from gateway.core.ticker import Sweep, Ticker
from gateway.exchange.audit import Audit
from gateway.exchange.dispatcher import Dispatcher
from gateway.exchange.internal_call import InternalCall
from gateway.files.store import FileStore
from gateway.http.client_connection import ClientConnection
from gateway.http.connection_pool import ConnectionPool
from gateway.http.listener import Listener
from gateway.observe.access_log import AccessLog
from gateway.observe.counters import Counters
from gateway.observe.exposition import Exposition
from gateway.observe.tracing.tracer import Tracer
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica
from gateway.tuning.client import TuningClient

if TYPE_CHECKING:
    from gateway.observe.tracing.exporter import SpanExporter


class Server(Protocol):
    """The listening sockets of one address, as ``asyncio.Server`` has them."""

    @property
    def sockets(self) -> Sequence[Any]:
        """The listening sockets."""

    def close(self) -> None:
        """Take no more connections."""


Listen = Callable[[Callable[[], asyncio.Protocol], str, int, ssl.SSLContext | None], Awaitable[Server]]
"""How to listen: with a factory of protocols, at a host and a port, with TLS or without. Raises ``OSError``."""


async def listen_alone(
    factory: Callable[[], asyncio.Protocol], host: str, port: int, tls: ssl.SSLContext | None
) -> Server:
    """Listen at an address that is this process's alone."""
    return await asyncio.get_running_loop().create_server(
        factory, host, port, ssl=tls, backlog=4096, reuse_address=True
    )


class DataPlane:
    """Every object that a request meets on its way, and the tick that keeps their deadlines.

    One process among several ``listen``s in its own way, holds ``log_lock`` while it writes to the access log, and
    shares what keys have used (``usage``) with the others.
    Raises ``StartError`` when it cannot be built.
    """

    def __init__(
        self,
        config: Config,
        registry: Registry,
        version: str,
        commit: str,
        *,
        listen: Listen = listen_alone,
        log_lock: AbstractContextManager[object] | None = None,
        usage: UsageStore | None = None,
    ) -> None:
        # What may fail comes before what would have to be closed again.
        self._tls = tls_of(config)
        self._where = config.gateway.listen
        self._listen = listen
        self._access_log = access_log_of(config, log_lock)
        self.counters = Counters()
        self.exposition = Exposition(lambda: self.counters, lambda: self.registry, version, commit)
        self._shedding = LoadShedding(config.gateway.limits.max_loop_lag)
        self._dispatcher = Dispatcher(
            config.gateway.timeouts, self.counters, shedding=self._shedding, fast_paths=config.gateway.fast_paths
        )
        self.counters.set_objectives({model.name: model.slo for model in registry.models})
        self.usage = LocalUsage() if usage is None else usage
        snapshot = Snapshot.of(config.gateway, registry, self.usage)
        self._audit = Audit(self._dispatcher.exchanges, self.counters.lease_mismatches)
        self._files = FileStore(config.gateway.files, self.counters.files)
        self._exporter: SpanExporter | None
        tracer, self._exporter = tracing_of(config, self.counters, version) or (None, None)
        batches = BatchStore(self._files, config.gateway.batches)
        self._pipeline = Pipeline(
            snapshot, self._dispatcher, self.counters, self._access_log, version, self._files, batches, tracer
        )
        self._tuning = self._pipeline.tuning = TuningClient(config)
        self._questions = count(1)
        self._batches = BatchRunner(batches, BatchLines(self._pipeline), self.counters.batches)
        self._show_metrics(config)
        self._listener = Listener(
            self._pipeline,
            config.gateway.limits,
            config.gateway.timeouts,
            self.counters.wire,
            fast_paths=config.gateway.fast_paths,
        )
        # How long a connection was idle need not be known to the second.
        self._sweep: Sweep[ConnectionPool] = Sweep(ticks=100, at_once=10)
        self._ticker = Ticker(self._tick, self._lagged)
        self._server: Server | None = None

    def __repr__(self) -> str:
        return f"<DataPlane {self._listener!r} {self.registry!r}>"

    @property
    def registry(self) -> Registry:
        """The models in force."""
        return self._pipeline.registry

    @property
    def keyring(self) -> Keyring:
        """The keys in force, with what they have used."""
        return self._pipeline.snapshot.keyring

    @property
    def draining(self) -> bool:
        """Whether the end was announced."""
        return self._listener.closing

    @property
    def last_tick(self) -> float:
        """When the loop ticked last, as a ``monotonic`` reading."""
        return self._ticker.last_tick

    @property
    def troubles(self) -> Sequence[str]:
        """Why nothing can be asked at all: a data plane that can be asked this has none."""
        return ()

    @property
    def processes(self) -> Sequence[Mapping[str, object]]:
        """The processes among which requests are spread: there are none."""
        return ()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._listener.connections)

    async def count(self) -> None:
        """Bring the metrics up to date: they always are."""

    @property
    def address(self) -> str:
        """Where clients ask, once it listens; the real port, where 0 was asked for."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return url_of(host, port, tls=self._tls is not None)

    def renew_certificate(self, config: Config) -> None:
        """Use the certificate that its files hold now, if there is one. Raises ``StartError``, and changes nothing."""
        if self._tls is not None:
            load_certificate(self._tls, config)

    def apply(self, config: Config, registry: Registry) -> None:
        """Go by another configuration from now on, but for what is read at the start only."""
        old = self.registry
        self._pipeline.snapshot = Snapshot.of(config.gateway, registry, self.usage)
        self._listener.set_limits(config.gateway.limits, config.gateway.timeouts)
        self._shedding.max_lag = config.gateway.limits.max_loop_lag
        self._dispatcher.set_deadlines(config.gateway.timeouts)
        old.succeeded_by(registry)
        self.counters.set_objectives({model.name: model.slo for model in registry.models})
        self._tuning.follow(config)
        self._show_metrics(config)

    async def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Ask itself, as a client would with whom it needs no key; give the status and the body of the response."""
        context = RequestContext(
            internal_head(INTERNAL, path), f"{INTERNAL}-{next(self._questions)}", body, perf_counter()
        )
        response = await InternalCall(self._pipeline).ask(context)
        return response.status, response.body

    def show_load(self, replica: Replica) -> None:
        """Take over what the engine of a replica says of its load: policies read it where it is."""

    # start and stop

    async def start(self) -> None:
        """Listen, and begin to tick. Raises ``StartError``."""
        try:
            self._server = await self._listen(partial(ClientConnection, self._listener), *split(self._where), self._tls)
        except OSError as error:
            raise StartError(f"Cannot listen on {self._where} (gateway.listen): {error.strerror}.") from None
        self._ticker.start()
        self._files.start()
        self._batches.start()
        if self._exporter is not None:
            self._exporter.start()

    async def stop(self) -> None:
        """Stop ticking, and close what is open towards engines, files and the log."""
        self._ticker.stop()
        self._dispatcher.stop()
        await self._pipeline.local_calls.stop()
        await self._batches.stop()
        await self._files.stop()
        for pool in self.registry.connection_pools:
            pool.close()
        if self._exporter is not None:
            await self._exporter.stop()
        if self._access_log is not None:
            self._access_log.close()

    # the end, in the order of ``drain.drain``

    def announce_end(self) -> None:
        """Ask clients to close their connections."""
        self._listener.closing = True

    def stop_accepting(self) -> None:
        """Take nothing new, and refuse what waits."""
        if self._server is not None:
            self._server.close()
        self._batches.ask_no_more()
        self._dispatcher.refuse_new()
        self._listener.close_idle()

    async def idle(self) -> None:
        """Wait until no request is under way, and every response has left; looks at each tick."""
        while len(self._dispatcher) or len(self._pipeline.local_calls) or self._listener.unwritten:
            await self._ticker.next_tick()

    def cancel_all(self) -> None:
        """End whatever is still under way."""
        self._dispatcher.cancel_all()
        self._pipeline.local_calls.cancel_all()

    # inside

    def _show_metrics(self, config: Config) -> None:
        self._pipeline.metrics = self.exposition if config.gateway.metrics_at_listen else None

    def _lagged(self, seconds: float) -> None:
        """Count how late the loop was for its tick, and refuse more or less because of it."""
        self.counters.lagged(seconds)
        self._shedding.tick(seconds)

    def _tick(self, now: float) -> None:
        """Let everything with a deadline look at the clock."""
        self._listener.tick(now)
        self._dispatcher.tick(now)
        self.registry.tick(now)
        self._audit.tick(now, (*self.registry.pools, *self.registry.closing))
        for pool in self._sweep.next_batch(self.registry.connection_pools):
            pool.tick(now)
        if self._access_log is not None:
            self._access_log.flush()
            self.counters.lost_log_lines = self._access_log.lost


def split(address: str) -> tuple[str, int]:
    """Split HOST:PORT; brackets of an IPv6 address are taken off."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def joined(host: str, port: int) -> str:
    """Join to HOST:PORT as URLs have it: an IPv6 address gets brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def url_of(host: str, port: int, *, tls: bool = False) -> str:
    """Write the URL of an address, without a path."""
    return f"{'https' if tls else 'http'}://{joined(host, port)}"


def access_log_of(config: Config, lock: AbstractContextManager[object] | None) -> AccessLog | None:
    """Open the access log, if there is to be one; ``lock`` is held while it is written. Raises ``StartError``."""
    where = config.gateway.access_log
    try:
        return AccessLog.open(where, lock)
    except OSError as error:
        raise StartError(f"Cannot write to {where} (gateway.access_log): {error.strerror}.") from None


def tracing_of(config: Config, counters: Counters, version: str) -> tuple[Tracer, SpanExporter] | None:
    """Make what records and sends spans, if that is asked for; each process has its own."""
    settings = settings_of(config.gateway.tracing, os.environ)
    if settings is None:
        return None
    # Loaded here, because without it a process that takes requests needs no HTTP client, and is 9 MB smaller.
    from gateway.observe.tracing.exporter import SpanExporter
    from gateway.observe.tracing.otlp import TraceEncoder

    instance = {"service.version": version, "service.instance.id": str(uuid.uuid4())}
    encoder = TraceEncoder({**instance, **settings.resource}, version)
    exporter = SpanExporter(settings.url, settings.headers, encoder, counters.spans)
    return Tracer(settings.ratio, exporter.add, parent_based=settings.parent_based), exporter


def tls_of(config: Config) -> ssl.SSLContext | None:
    """Load certificate and key, if there are any. Raises ``StartError``."""
    if config.gateway.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, config)
    return context


def load_certificate(context: ssl.SSLContext, config: Config) -> None:
    """Use the certificate and key that the files hold now, for new connections. Raises ``StartError``."""
    certificate, key = config.gateway.tls_certificate, config.gateway.tls_key
    assert certificate is not None
    try:
        # A pair that does not fit must leave the context as it was, so another one tries it first. Without a password
        # OpenSSL would ask for one on the terminal, where nobody sits.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"Cannot read {certificate} and {key} (gateway.tls_certificate, tls_key): {error}.") from None
