"""Keeps the LoRA adapters of each replica as the models in force want them.

A replica is asked what it has loaded, gets what it lacks through vLLM's ``/v1/load_lora_adapter``, and loses what was
loaded from here and is wanted no more. That is done before it becomes ready, whenever the models change, and now and
then, because an engine elsewhere may have been started anew between two probes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from gateway.core import engine_error
from gateway.core.tasks import cancelled
from gateway.http.upstream import UpstreamError
from gateway.pools.health import Probe, ProbeAnswer
from gateway.pools.model import Model
from gateway.pools.pool import Pool
from gateway.pools.registry import Registry
from gateway.pools.replica import Replica

_LIST_SECONDS = 5.0
_LOAD_SECONDS = 120.0
"""Longest wait for an engine that reads an adapter from a disk far away."""

_PREPARE_SECONDS = 30.0
"""How long a replica that is well is kept from its requests for its adapters' sake; they are loaded later then."""

_LOOK_SECONDS = 10.0
"""How often it is seen to it that replicas have what they should."""

_LISTS = b"/v1/models"
_LOADS = b"/v1/load_lora_adapter"
_UNLOADS = b"/v1/unload_lora_adapter"


_WORKER_SAID = re.compile(r"Worker failed with error '(.+)', please check the stack trace", re.DOTALL)
"""What vLLM says of a failed load, and within it the reason."""


class AdapterState(StrEnum):
    """Whether a replica has loaded an adapter."""

    LOADED = "loaded"
    PENDING = "pending"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class AdapterStatus:
    """An adapter at one replica, and why it could not be loaded there."""

    adapter: str
    replica: str
    state: AdapterState
    reason: str = ""


class AdapterRefused(Exception):
    """An adapter cannot be loaded; the message says why."""


class _Card(msgspec.Struct):
    id: str
    root: str | None = None
    parent: str | None = None


class _Cards(msgspec.Struct):
    data: list[_Card]


Check = Callable[[Model], Awaitable[None]]
"""Looks at the files of an adapter before an engine does. Raises ``AdapterRefused``."""


class Adapters:
    """The adapters of all replicas of a registry.

    ``check`` looks at an adapter's files first. ``failed`` is told, in a line for people, when one could not be loaded.
    """

    def __init__(self, registry: Registry, check: Check, failed: Callable[[str], None]) -> None:
        self._check = check
        self._failed = failed
        self._wanted: dict[Pool, dict[str, Model]] = {}
        self._loaded_here: dict[Replica, set[str]] = {}
        """What each replica has because it was told so from here: that alone is unloaded again."""
        self._reasons: dict[tuple[Replica, str], str] = {}
        self._locks: dict[Replica, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._registry = registry
        self._list_wanted()

    def __repr__(self) -> str:
        return f"<Adapters {sorted(name for wanted in self._wanted.values() for name in wanted)}>"

    def start(self) -> None:
        """See to it from now on, on the running loop, that replicas have what they should."""
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def stop(self) -> None:
        """Load nothing more; what is loaded stays so."""
        await cancelled([*self._tasks, *([self._looking] if self._looking is not None else [])])

    def follow(self, registry: Registry) -> None:
        """Go by the models of a newer registry from now on."""
        before = self._wanted
        self._registry = registry
        self._list_wanted()
        for pool in {*before, *self._wanted}:
            if _folders(before.get(pool)) != _folders(self._wanted.get(pool)):
                for replica in pool.replicas:
                    # One that is being prepared has begun with what was wanted before.
                    if replica.ready or (replica in self._locks and self._locks[replica].locked()):
                        self._spawn(self._arrange(pool, replica))

    def wants(self, replica: Replica) -> bool:
        """Whether a replica is to have adapters."""
        return self._pool_of(replica) is not None

    async def prepare(self, replica: Replica) -> None:
        """Load what a replica is to have before it gets requests, as far as that takes no longer than a while."""
        pool = self._pool_of(replica)
        if pool is not None:
            await asyncio.wait([self._spawn(self._arrange(pool, replica))], timeout=_PREPARE_SECONDS)

    async def settled(self) -> None:
        """Wait until what was begun because of a change has been done."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def load(self, adapter: Model) -> None:
        """Load one more adapter into all ready replicas of its pool, before clients may ask for it.

        Raises ``AdapterRefused`` where none of them has taken it; then all is as it was. Where no replica is ready, it
        is loaded as soon as one is.
        """
        await self._check(adapter)
        pool = adapter.pool
        self._wanted.setdefault(pool, {})[adapter.name] = adapter
        ready = list(pool.ready)
        await asyncio.gather(*(self._arrange(pool, replica) for replica in ready))
        if ready and not any(adapter.name in replica.adapters for replica in ready):
            reason = next(
                (self._reasons[each, adapter.name] for each in ready if (each, adapter.name) in self._reasons), ""
            )
            self._list_wanted()
            raise AdapterRefused(reason or "No replica is ready any more.")

    def statuses(self, adapter: Model) -> Sequence[AdapterStatus]:
        """Tell how an adapter stands at each replica."""
        return [self._status(adapter.name, replica) for replica in adapter.pool.replicas]

    # inside

    def _status(self, adapter: str, replica: Replica) -> AdapterStatus:
        if adapter in replica.adapters:
            return AdapterStatus(adapter, replica.name, AdapterState.LOADED)
        reason = self._reasons.get((replica, adapter), "")
        return AdapterStatus(adapter, replica.name, AdapterState.FAILED if reason else AdapterState.PENDING, reason)

    def _list_wanted(self) -> None:
        """List the adapters of each pool, and forget what was of replicas that are gone."""
        self._wanted = {}
        for model in self._registry.models:
            if model.parent is not None:
                self._wanted.setdefault(model.pool, {})[model.name] = model
        here = set(self._registry.replicas)
        for gone in [replica for replica in self._locks if replica not in here]:
            del self._locks[gone]
            self._loaded_here.pop(gone, None)
        self._reasons = {
            (replica, name): reason
            for (replica, name), reason in self._reasons.items()
            if replica in here and any(name in wanted for wanted in self._wanted.values())
        }

    def _pool_of(self, replica: Replica) -> Pool | None:
        return next((pool for pool in self._wanted if replica in pool.replicas), None)

    def _spawn(self, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for pool in list(self._wanted):
                for replica in list(pool.ready):
                    await self._arrange(pool, replica)

    async def _arrange(self, pool: Pool, replica: Replica) -> None:
        """Compare what a replica has with what it is to have, and load and unload the difference."""
        async with self._locks.setdefault(replica, asyncio.Lock()):
            try:
                there = await _listed(replica)
            except AdapterRefused as error:
                # What it has is not known; a replica that was ready before keeps what it had.
                for name in self._wanted.get(pool, {}):
                    if name not in replica.adapters:
                        self._note(replica, name, str(error))
                return
            mine = self._loaded_here.setdefault(replica, set())
            mine.intersection_update(there)
            for name in mine - self._wanted.get(pool, {}).keys():
                replica.set_adapters(replica.adapters - {name})
                await _unload(replica, name)
                mine.discard(name)
            loaded = set()
            for name, adapter in list(self._wanted.get(pool, {}).items()):
                try:
                    await self._ensure(replica, adapter, there, mine)
                except AdapterRefused as error:
                    self._note(replica, name, str(error))
                else:
                    self._reasons.pop((replica, name), None)
                    loaded.add(name)
            replica.set_adapters(frozenset(loaded))

    async def _ensure(self, replica: Replica, adapter: Model, there: Mapping[str, str | None], mine: set[str]) -> None:
        """Have an adapter at a replica that has what is ``there``. Raises ``AdapterRefused``."""
        name = adapter.upstream_name
        if name in there:
            if there[name] == adapter.root:
                return
            if name not in mine:
                raise AdapterRefused(f"{replica.name} has another adapter of this name, from {there[name]}.")
            replica.set_adapters(replica.adapters - {name})
            await _unload(replica, name)
            mine.discard(name)
        await self._check(adapter)
        await _load(replica, name, adapter.root)
        mine.add(name)

    def _note(self, replica: Replica, adapter: str, reason: str) -> None:
        """Remember why an adapter is not at a replica, and say it once."""
        if self._reasons.get((replica, adapter)) != reason:
            self._reasons[replica, adapter] = reason
            self._failed(f"the adapter {adapter} is not loaded at {replica.name}: {reason}")


def _folders(wanted: Mapping[str, Model] | None) -> Mapping[str, str]:
    return {name: adapter.root for name, adapter in (wanted or {}).items()}


async def _listed(replica: Replica) -> Mapping[str, str | None]:
    """Ask a replica for its adapters: where each is from, by name. Raises ``AdapterRefused``."""
    answer = await _answered(Probe(replica).get(_LISTS, _LIST_SECONDS), replica)
    try:
        cards = msgspec.json.decode(answer.body, type=_Cards).data
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise AdapterRefused(f"{replica.name} does not list its models at /v1/models.") from None
    return {card.id: card.root for card in cards if card.parent is not None}


async def _load(replica: Replica, name: str, folder: str) -> None:
    """Have a replica load an adapter. Raises ``AdapterRefused``."""
    body = msgspec.json.encode({"lora_name": name, "lora_path": folder})
    answer = await _answered(Probe(replica).post(_LOADS, body, _LOAD_SECONDS), replica)
    if answer.status == 200:
        return
    said = engine_error.from_response(answer.status, answer.body).message
    if match := _WORKER_SAID.search(said):
        said = match[1]
    if answer.status in (404, 405) and said in ("Not Found", "Method Not Allowed"):
        said = (
            "the engine loads no adapters while it runs; a vLLM does with --enable-lora and "
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
        )
    raise AdapterRefused(said)


async def _unload(replica: Replica, name: str) -> None:
    """Have a replica forget an adapter; one that does not answer is asked again when it is compared again."""
    try:
        body = msgspec.json.encode({"lora_name": name})
        await _answered(Probe(replica).post(_UNLOADS, body, _LIST_SECONDS), replica)
    except AdapterRefused:
        return


async def _answered(asking: Awaitable[ProbeAnswer], replica: Replica) -> ProbeAnswer:
    try:
        return await asking
    except (UpstreamError, TimeoutError) as error:
        raise AdapterRefused(str(error) or f"{replica.name} did not answer in time.") from None
