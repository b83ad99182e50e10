"""Starts engines on this machine, as long as there is a free GPU for one, or room on the CPU."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from engines.processes.gpus import Gpus
from engines.spec import EngineSpec
from engines.supervisor import ReplicaStatus, Supervisor
from gateway.scaling.eviction import Room


class LocalPlace:
    """Our own machine as a place where engines run, each on GPUs that no other has.

    At most ``cpu_engines`` without a GPU run at the same time, those on their way out included; ``None``: any number.
    """

    def __init__(self, supervisor: Supervisor, gpus: Gpus, cpu_engines: int | None = None) -> None:
        self._supervisor = supervisor
        self._gpus = gpus
        self.cpu_engines = cpu_engines
        self._devices: dict[str, tuple[str, ...]] = {}
        """The GPUs of each replica that is awake, none for one that runs on the CPU."""
        self._asleep: dict[str, tuple[str, ...]] = {}
        """The GPUs of each replica that sleeps, which others may have meanwhile."""

    def __repr__(self) -> str:
        asleep = f" asleep: {list(self._asleep)}" if self._asleep else ""
        return f"<LocalPlace {list(self._devices)}{asleep} {self._gpus!r}>"

    @property
    def statuses(self) -> Sequence[ReplicaStatus]:
        """What every replica is doing now."""
        return self._supervisor.statuses

    def folder_of(self, model: str) -> Path | None:
        """Give the folder with a model's files; ``None`` if it is not here, or not yet."""
        return self._supervisor.folder_of(model)

    def add(self, spec: EngineSpec) -> ReplicaStatus | None:
        """Let there be one more replica, now or from ``start`` on; ``None`` if there is no room for it."""
        devices = self._gpus.take(spec.gpus) if spec.gpus or not self._cpu_is_full else None
        if devices is None:
            return None
        status = self._supervisor.add(spec, devices)
        self._devices[status.replica] = devices
        return status

    def lacks(self, spec: EngineSpec) -> str:
        """Say what there is too little of for one more replica; nothing where there is room."""
        if spec.gpus > self._gpus.free:
            return f"{spec.gpus} for each replica, and {self._gpus.free} of {len(self._gpus)} GPUs free"
        if not spec.gpus and self._cpu_is_full:
            return f"cpu_engines = {self.cpu_engines}, and so many run"
        return ""

    def gpus_of(self, name: str) -> frozenset[str]:
        """Give the GPUs of a replica, also of one that sleeps; none on the CPU."""
        return frozenset(self._devices.get(name) or self._asleep.get(name, ()))

    def room_beside(self, staying: Collection[str]) -> Room:
        """Tell what is free where only these replicas are awake."""
        held = [self._devices[name] for name in staying]
        on_cpu = sum(not devices for devices in held)
        cpu_slots = None if self.cpu_engines is None else self.cpu_engines - on_cpu
        return Room(frozenset(self._gpus.devices).difference(*held), cpu_slots)

    async def sleep(self, name: str, level: int) -> None:
        """Put a replica to sleep, and free its GPUs then. Raises ``EngineError`` if it does not sleep."""
        await self._supervisor.sleep(name, level)
        self._asleep[name] = devices = self._devices.pop(name)
        self._gpus.give_back(devices)

    def wake(self, name: str) -> bool:
        """Begin to wake a replica on the GPUs that it had; return whether they are free, else it sleeps on."""
        if not self._gpus.take_these(self._asleep[name]):
            return False
        self._devices[name] = self._asleep.pop(name)
        self._supervisor.wake(name)
        return True

    async def remove(self, name: str, grace: float) -> None:
        """Stop a replica, giving it ``grace`` seconds to end by itself, and free its GPUs then."""
        await self._supervisor.remove(name, grace)
        if self._asleep.pop(name, None) is None:
            self._gpus.give_back(self._devices.pop(name))

    def start(self) -> None:
        """Start every replica, and from now on each that is added; returns at once."""
        self._supervisor.start()

    async def stop(self, grace: float) -> None:
        """Stop all replicas side by side, giving each ``grace`` seconds to end by itself."""
        await self._supervisor.stop(grace)

    @property
    def _cpu_is_full(self) -> bool:
        return self.cpu_engines is not None and self.cpu_engines <= sum(
            not devices for devices in self._devices.values()
        )
