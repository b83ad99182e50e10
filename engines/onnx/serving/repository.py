"""The models of one process, by name and version: loaded, swapped and unloaded while requests come in.

A load happens aside, in a thread, and changes nothing until the model has been checked and warmed up; then one
assignment on the event loop makes it the one that new requests get. Requests under way keep the version that they
began with, and that version is unloaded after the last of them. A load that fails changes nothing.

Each version has a batcher, and threads, of its own: a batch holds texts of one graph only, turns and the measured speed
are those of one queue, and what is unloaded takes its threads along. Threads that have nothing to do cost nothing, for
they do not spin; when several models are busy at once the operating system divides the cores among them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from engines.onnx.errors import BadRequest, ModelError, ModelNotFound
from engines.onnx.model.golden import check
from engines.onnx.model.model import Model, load
from engines.onnx.model.moderation import Categories
from engines.onnx.model.tasks import TASKS
from engines.onnx.options import Golden
from engines.onnx.serving.batcher import Batcher, Observer
from engines.onnx.serving.metrics import Metrics

FIRST_VERSION = "1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_VERSION = re.compile(r"[0-9]{1,9}")
_STATUS = Path("/proc/self/statm")
_PAGE = 4096

MakeBatcher = Callable[[Model, Observer], Batcher]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is loaded; see ``model.load``."""

    folder: Path
    task: str
    labels: tuple[str, ...] = ()
    max_length: int | None = None
    output: str | None = None
    categories: Categories | None = None
    golden: Golden | None = None
    gpu: bool = False
    truncate: bool = False

    def load(self, name: str) -> Model:
        """Load the model, which takes seconds and blocks. Raises ``ModelError``, also for another golden answer."""
        model = load(
            name,
            self.folder,
            self.task,
            labels=self.labels,
            max_length=self.max_length,
            truncate=self.truncate,
            output=self.output,
            categories=self.categories,
            gpu=self.gpu,
        )
        if self.golden is not None:
            check(model, self.golden)
        return model

    @property
    def weights(self) -> int:
        """Bytes of the graph's files."""
        return sum(file.stat().st_size for file in self.folder.glob("model.onnx*"))


class Served:
    """One version of a model, while it is served and until its last request is answered."""

    def __init__(self, version: str, model: Model, batcher: Batcher, recipe: Recipe | None, memory: int) -> None:
        self.version = version
        self.model = model
        self.batcher = batcher
        self.recipe = recipe
        self.memory = memory
        """By how many bytes the process grew while this version was loaded and warmed up."""
        self.weights = recipe.weights if recipe else 0
        """Bytes of its files."""
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __repr__(self) -> str:
        return f"<Served {self.model.name}:{self.version} [{self._in_flight} in flight]>"

    def check_name(self, name: str | None) -> None:
        """Raise ``ModelNotFound`` if a request that got this version names another."""
        if name and name not in (self.model.name, f"{self.model.name}:{self.version}"):
            message = f"The model `{name}` does not exist. Valid aliases: {self.model.name}."
            raise ModelNotFound(message, param="model")

    @contextmanager
    def used(self) -> Iterator[Served]:
        """Keep this version alive for one request."""
        self._in_flight += 1
        self._idle.clear()
        try:
            yield self
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def close(self) -> None:
        """End its threads when the last request has been answered."""
        await self._idle.wait()
        await asyncio.to_thread(self.batcher.close)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the index."""

    name: str
    version: str
    state: str
    memory: int
    weights: int


class Repository:
    """All models of the process; everything but the loading itself happens on the event loop.

    ``folder`` holds more models, as ``NAME/VERSION/model.onnx``; without it, models can only be loaded again from where
    they came from.
    """

    def __init__(self, metrics: Metrics, make_batcher: MakeBatcher, folder: Path | None = None) -> None:
        self._metrics = metrics
        self._make_batcher = make_batcher
        self._folder = folder
        self._models: dict[str, dict[str, Served]] = {}
        """The versions of each model in the order they were loaded; the last one answers to the bare name."""
        self._retiring: set[asyncio.Task[None]] = set()
        self._loading = asyncio.Lock()

    def __repr__(self) -> str:
        every = ", ".join(f"{served!r}" for versions in self._models.values() for served in versions.values())
        return f"<Repository {every}; {len(self._retiring)} retiring>"

    @property
    def names(self) -> list[str]:
        """What requests may call a model: its name, and with a colon each version where there are several."""
        names = list(self._models)
        for name, versions in self._models.items():
            names += [f"{name}:{version}" for version in versions if len(versions) > 1]
        return names

    @property
    def only(self) -> Served | None:
        """The version that every request means, if there is no other."""
        if len(self._models) != 1:
            return None
        versions = next(iter(self._models.values()))
        return next(iter(versions.values())) if len(versions) == 1 else None

    def find(self, name: str | None) -> Served:
        """Find the version that a request means. Raises ``ModelNotFound``, and ``BadRequest`` if it has to name one."""
        if not name:
            if len(self._models) != 1:
                raise BadRequest(f"Name a model. Valid names: {', '.join(self.names) or 'none'}.", param="model")
            name = next(iter(self._models))
        bare, _, version = (name, "", "") if name in self._models else name.rpartition(":")
        versions = self._models.get(bare, {})
        found = versions.get(version or next(reversed(versions), ""))
        if found is None:
            message = f"The model `{name}` does not exist. Valid aliases: {', '.join(self.names) or 'none'}."
            raise ModelNotFound(message, param="model")
        return found

    def index(self) -> list[Entry]:
        """List every version."""
        return [
            Entry(name, served.version, "READY", served.memory, served.weights)
            for name, versions in self._models.items()
            for served in versions.values()
        ]

    def put(self, model: Model, recipe: Recipe | None = None, version: str = FIRST_VERSION, memory: int = 0) -> Served:
        """Serve a model that is loaded already, in the place of the same version if there is one."""
        metrics = self._metrics.of(model.name)
        served = Served(version, model, self._make_batcher(model, metrics), recipe, memory)
        versions = self._models.setdefault(model.name, {})
        replaced = versions.pop(version, None)
        versions[version] = served
        if replaced is not None:
            self._retire(replaced)
        self._watch(model.name, metrics)
        return served

    async def load(self, name: str, version: str | None = None, *, keep: bool = False, **changes: object) -> Served:
        """Load a version and let it answer to the bare name; the others are unloaded unless they are to be kept.

        ``changes`` are fields of the recipe, which is otherwise that of the model served now. Raises ``ModelError`` or
        a ``RequestError``, and then nothing has changed.
        """
        async with self._loading:
            version, recipe = self._recipe(name, version, changes)
            before = resident_bytes()
            model = await asyncio.to_thread(recipe.load, name)
            served = self.put(model, recipe, version, max(0, resident_bytes() - before))
            if not keep:
                for other in [other for other in self._models[name] if other != version]:
                    self._remove(name, other)
            return served

    def unload(self, name: str, version: str | None = None) -> None:
        """Let no new request have a version, or any of them. Raises ``ModelNotFound``."""
        versions = self._models.get(name, {})
        unloaded = list(versions) if version is None else [each for each in versions if each == version]
        if not unloaded:
            message = f"The model `{name}` has no version {version or 'at all'} to unload."
            raise ModelNotFound(message, param="name")
        for each in unloaded:
            self._remove(name, each)

    async def close(self) -> None:
        """Unload everything, and wait until the last request has been answered."""
        for name in list(self._models):
            self.unload(name)
        await asyncio.gather(*self._retiring)

    def _recipe(self, name: str, version: str | None, changes: dict[str, object]) -> tuple[str, Recipe]:
        """Find out what is to be loaded from where."""
        if not _NAME.fullmatch(name) or (version is not None and not _VERSION.fullmatch(version)):
            raise BadRequest(f"{name!r} with the version {version!r} is no name and number of a model", param="name")
        now = self.find(name) if name in self._models else None
        recipe = now.recipe if now else None
        place = self._folder / name if self._folder else None
        if place is not None and place.is_dir():
            version = version or self._latest(place)
            folder = place / version
            if not folder.resolve().is_relative_to(place.parent.resolve()):
                raise BadRequest(f"{folder} leads out of the repository", param="name")
        elif recipe is not None and now is not None and version in (None, now.version):
            version, folder = now.version, recipe.folder
        else:
            raise ModelNotFound(f"There is no version {version or 'at all'} of {name!r} to load.", param="name")
        task = changes.get("task", recipe.task if recipe else None)
        if task not in TASKS:
            raise BadRequest(f"`task` must be one of {', '.join(TASKS)}, not {task!r}", param="parameters.task")
        base = recipe or Recipe(folder, str(task))
        if now is not None and version != now.version:
            # Another version may answer differently, which is why it is loaded.
            base = replace(base, golden=None)
        return version, replace(base, **{"folder": folder, **changes})  # type: ignore[arg-type]

    @staticmethod
    def _latest(place: Path) -> str:
        versions = [each.name for each in place.iterdir() if _VERSION.fullmatch(each.name)]
        if not versions:
            raise ModelError(place, "has no folder with a number as its name")
        return max(versions, key=int)

    def _remove(self, name: str, version: str) -> None:
        self._retire(self._models[name].pop(version))
        if not self._models[name]:
            del self._models[name]
        self._metrics.of(name).forget("model_memory_bytes", version)
        self._metrics.of(name).forget("model_weights_bytes", version)

    def _retire(self, served: Served) -> None:
        task = asyncio.get_running_loop().create_task(served.close())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _watch(self, name: str, metrics: Metrics) -> None:
        def total(read: Callable[[Batcher], float]) -> float:
            return sum(read(served.batcher) for served in self._models.get(name, {}).values())

        metrics.watch("waiting_tokens", "Tokens that wait for a thread.", partial(total, lambda b: b.waiting_tokens))
        metrics.watch("waiting_texts", "Texts that wait for a thread.", partial(total, lambda b: b.waiting_texts))
        metrics.watch("running_batches", "Batches that run now.", partial(total, lambda b: b.running))
        budget = self.find(name).model.budget
        metrics.watch("batch_token_budget", "Most tokens of a batch, as measured.", lambda: budget.tokens)
        for version, served in self._models[name].items():
            metrics.note("model_memory_bytes", "Growth of the process while loading.", version, served.memory)
            metrics.note("model_weights_bytes", "Size of the graph's files.", version, served.weights)


def resident_bytes() -> int:
    """Say how much memory the process has; 0 where the kernel does not tell."""
    try:
        return int(_STATUS.read_text().split()[1]) * _PAGE
    except OSError:
        return 0
