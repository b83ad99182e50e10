"""Where engines run: on this machine, and on a Ray cluster if the configuration names one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engines.processes.gpus import Gpus
from engines.ray.supervisor import RaySupervisor
from engines.supervisor import ReplicaStatus, Supervisor
from gateway.config.schema import Config
from gateway.fleet.engine_specs import cache_of
from gateway.fleet.local_place import LocalPlace
from gateway.fleet.managed_engine import Place
from gateway.observe.exposition import Exposition

OnChange = Callable[[ReplicaStatus], None]
"""Is told how an engine is doing."""


class EnginePlaces:
    """Makes the places where engines run, and shows in ``exposition`` whether the head of the cluster answers.

    ``folder`` takes the sockets and logs of engines of this machine; ``say`` takes lines for people.
    """

    def __init__(
        self, config: Config, gpus: Gpus, folder: Path, exposition: Exposition, say: Callable[[str], None]
    ) -> None:
        self._config = config
        self._gpus = gpus
        self._folder = folder
        self._exposition = exposition
        self._say = say
        self._cluster = None if config.gateway.ray is None else config.gateway.ray.cluster
        exposition.ray_up = None if self._cluster is None else True
        self.local: LocalPlace
        """This machine; there once ``make_local`` was called."""

    def __repr__(self) -> str:
        return f"<EnginePlaces {self._gpus!r} {self._cluster!r}>"

    def make_local(self, on_change: OnChange) -> LocalPlace:
        """Let engines run on this machine."""
        supervisor = Supervisor(folder=self._folder, cache=cache_of(self._config), on_change=on_change)
        self.local = LocalPlace(supervisor, self._gpus, self._config.gateway.cpu_engines)
        return self.local

    def make_ray(self, on_change: OnChange) -> Place | None:
        """Let engines run on the Ray cluster, if there is one."""
        if self._cluster is None:
            return None
        return RaySupervisor(self._cluster, on_change, self._head_heard, self._say)

    def follow(self, config: Config) -> None:
        """Go by the limits of another configuration."""
        self.local.cpu_engines = config.gateway.cpu_engines

    def _head_heard(self, trouble: str) -> None:
        """Show whether the head of the Ray cluster answers."""
        self._exposition.ray_up = not trouble
        if trouble:
            self._say(f"the Ray cluster cannot be asked ({trouble}); replicas that run go on serving")
        else:
            self._say("the Ray cluster answers again")
