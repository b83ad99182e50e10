"""Versions are swapped at once and whole: no request fails or changes its model, and a failed load changes nothing."""

from __future__ import annotations

import asyncio
import gc
import shutil
import weakref
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from engines.onnx.errors import BadRequest, ModelError, ModelNotFound
from engines.onnx.model.model import Model, load
from engines.onnx.serving.batcher import Batcher, Observer
from engines.onnx.serving.metrics import Metrics
from engines.onnx.serving.repository import Recipe, Repository, resident_bytes
from tests.engines.onnx.running_server import Held
from tests.engines.onnx.serving.test_metrics import series
from tests.engines.onnx.tiny import BAD, GOOD, LOGITS, table, write_classifier, write_embedder, write_graph
from tests.kit.eventually import PATIENCE

FLIPPED = {"good": (0.0, 2.0), "bad": (2.0, 0.0)}
"""The next version takes good for bad."""


def batcher(model: Model, observer: Observer) -> Batcher:
    budget = model.budget
    return Batcher(
        model.compute, observer, threads=1, rate=budget.rate, max_waiting_tokens=65536, token_budget=budget.tokens
    )


def write_version(folder: Path, version: str, rows: Mapping[str, tuple[float, ...]] = LOGITS) -> Path:
    """Write one version of the model ``m`` into a repository."""
    place = folder / "m" / version
    place.mkdir(parents=True)
    write_classifier(place)
    write_graph(place, table(rows), output="logits", pooled=True)
    return place


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("m")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a repository with two versions that disagree."""
    write_version(tmp_path, "1")
    write_version(tmp_path, "2", FLIPPED)
    return tmp_path


@pytest.fixture
async def repository(folder: Path, metrics: Metrics) -> AsyncIterator[Repository]:
    repository = Repository(metrics, batcher, folder)
    await repository.load("m", "1", task="classify")
    yield repository
    await repository.close()


async def logits(repository: Repository, name: str | None = None) -> list[float]:
    with repository.find(name).used() as served:
        (row,) = await served.batcher.submit([[GOOD]])
    return list(row.tolist())


async def test_a_load_puts_the_new_version_in_the_place_of_the_old(repository: Repository) -> None:
    assert await logits(repository) == [2, 0]
    await repository.load("m", "2")
    assert await logits(repository) == [0, 2]
    assert repository.names == ["m"]
    with pytest.raises(ModelNotFound):
        repository.find("m:1")


async def test_without_a_version_the_greatest_number_is_loaded(repository: Repository, folder: Path) -> None:
    write_version(folder, "10", {"good": (5.0, 0.0)})
    assert (await repository.load("m")).version == "10"
    assert await logits(repository) == [5, 0]


async def test_versions_can_be_kept_side_by_side(repository: Repository) -> None:
    await repository.load("m", "2", keep=True)
    assert repository.names == ["m", "m:1", "m:2"]
    assert [await logits(repository, name) for name in ("m", "m:1", "m:2", None)] == [[0, 2], [2, 0], [0, 2], [0, 2]]
    repository.unload("m", "2")
    assert await logits(repository) == [2, 0]


async def test_several_models_are_told_apart_by_name(repository: Repository, folder: Path) -> None:
    (folder / "e" / "1").mkdir(parents=True)
    write_embedder(folder / "e" / "1")
    await repository.load("e", task="embed")
    assert repository.names == ["m", "e"]
    assert len(await logits(repository, "e")) == 3
    with pytest.raises(BadRequest, match=r"Name a model\. Valid names: m, e\."):
        repository.find(None)
    with pytest.raises(ModelNotFound, match=r"The model `x` does not exist\. Valid aliases: m, e\."):
        repository.find("x")


@pytest.mark.parametrize("broken", [b"", b"no graph"])
async def test_a_load_that_fails_changes_nothing(repository: Repository, folder: Path, broken: bytes) -> None:
    (folder / "m" / "2" / "model.onnx").write_bytes(broken)
    before = repr(repository)
    with pytest.raises(ModelError, match=r"m/2/model\.onnx: ONNX Runtime cannot load it"):
        await repository.load("m", "2")
    assert repr(repository) == before
    assert await logits(repository) == [2, 0]


async def test_a_request_keeps_the_version_that_it_began_with(folder: Path, metrics: Metrics) -> None:
    first = load("m", folder / "m" / "1", "classify")
    held = Held(first)

    def one_held(model: Model, observer: Observer) -> Batcher:
        compute = held if model is first else model.compute
        budget = model.budget
        return Batcher(
            compute, observer, threads=1, rate=budget.rate, max_waiting_tokens=65536, token_budget=budget.tokens
        )

    repository = Repository(metrics, one_held, folder)
    repository.put(first, Recipe(folder / "m" / "1", "classify"))
    began = asyncio.create_task(logits(repository))
    waiting = asyncio.create_task(logits(repository))
    await asyncio.sleep(0)
    await repository.load("m", "2")
    assert "1 retiring" in repr(repository)
    assert await logits(repository) == [0, 2]
    held.release()
    assert [await began, await waiting] == [[2, 0], [2, 0]]
    await repository.close()
    assert repr(repository) == "<Repository ; 0 retiring>"


async def test_what_was_replaced_is_let_go_at_once(repository: Repository) -> None:
    old = weakref.ref(repository.find("m").model.session)
    # The collector may come late: it counts objects, not the megabytes that a session holds.
    gc.disable()
    try:
        await logits(repository)
        await repository.load("m", "2")
        async with asyncio.timeout(PATIENCE):
            while "1 retiring" in repr(repository):  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert old() is None
    finally:
        gc.enable()


async def swap_under_load(repository: Repository, swaps: int) -> int:
    """Ask all the time while versions are swapped; give how many answers there were, all of them right."""
    done, answered = asyncio.Event(), asyncio.Event()
    answers = 0

    async def client() -> None:
        nonlocal answers
        while not done.is_set():
            assert await logits(repository) in ([2, 0], [0, 2])
            answers += 1
            answered.set()

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(client())
        for number in range(swaps):
            await repository.load("m", str(1 + (number + 1) % 2))
            answered.clear()
            await answered.wait()
        done.set()
    return answers


async def test_no_request_fails_while_versions_are_swapped(repository: Repository) -> None:
    assert await swap_under_load(repository, 20) >= 20


@pytest.mark.slow
async def test_no_request_fails_in_hundreds_of_reloads(repository: Repository) -> None:
    await swap_under_load(repository, 100)
    settled = resident_bytes()
    assert await swap_under_load(repository, 300) >= 300
    assert resident_bytes() < 1.25 * settled


async def test_an_unloaded_model_is_not_found_and_its_memory_is_not_told(
    repository: Repository, metrics: Metrics
) -> None:
    assert series(metrics)['headgate_onnx_model_weights_bytes{model="m",version="1"}'] > 500
    assert 'headgate_onnx_model_memory_bytes{model="m",version="1"}' in series(metrics)
    repository.unload("m")
    with pytest.raises(ModelNotFound, match="Valid aliases: none"):
        repository.find("m")
    assert not [name for name in series(metrics) if "model_memory" in name or "model_weights" in name]


async def test_the_index_lists_every_version(repository: Repository) -> None:
    await repository.load("m", "2", keep=True)
    rows = repository.index()
    assert [(row.name, row.version, row.state) for row in rows] == [("m", "1", "READY"), ("m", "2", "READY")]
    assert all(row.weights > 500 for row in rows)


async def test_a_model_of_the_command_line_is_loaded_again_from_its_own_folder(
    tmp_path: Path, metrics: Metrics
) -> None:
    recipe = Recipe(write_classifier(tmp_path), "classify", ("fine", "nasty"))
    repository = Repository(metrics, batcher)
    repository.put(recipe.load("m"), recipe)
    write_graph(tmp_path, table(FLIPPED), output="logits", pooled=True)
    assert await logits(repository) == [2, 0]
    await repository.load("m")
    assert await logits(repository) == [0, 2]
    assert repr(repository.find("m").model.task) == "<Classify fine, nasty>"
    await repository.close()


@pytest.mark.parametrize(
    ("name", "version", "error", "reason"),
    [
        ("m", "3", ModelError, r"m/3: no such folder"),
        ("n", None, ModelNotFound, "There is no version at all of 'n' to load"),
        ("../m", None, BadRequest, "'../m' with the version None is no name and number of a model"),
        ("m", "../2", BadRequest, "is no name and number of a model"),
        ("m", "9", BadRequest, "leads out of the repository"),
    ],
)
async def test_what_is_not_in_the_repository_is_not_loaded(
    repository: Repository, folder: Path, name: str, version: str | None, error: type[Exception], reason: str
) -> None:
    (folder / "m" / "9").symlink_to("/")
    with pytest.raises(error, match=reason):
        await repository.load(name, version)
    assert await logits(repository) == [2, 0]


async def test_a_new_model_needs_a_task(repository: Repository, folder: Path) -> None:
    shutil.copytree(folder / "m", folder / "n")
    with pytest.raises(BadRequest, match="`task` must be one of classify, embed"):
        await repository.load("n")


async def test_a_model_without_a_version_is_told(repository: Repository, folder: Path) -> None:
    (folder / "n").mkdir()
    with pytest.raises(ModelError, match="n: has no folder with a number as its name"):
        await repository.load("n", task="classify")


async def test_what_is_not_there_cannot_be_unloaded(repository: Repository) -> None:
    for name, version in (("n", None), ("m", "7")):
        with pytest.raises(ModelNotFound, match=f"The model `{name}` has no version"):
            repository.unload(name, version)
    assert await logits(repository) == [2, 0]


def test_a_process_knows_how_much_memory_it_has() -> None:
    assert resident_bytes() > 1_000_000


async def test_the_tasks_of_a_request_run_in_order(repository: Repository) -> None:
    with repository.find("m").used() as served:
        rows = await served.batcher.submit([[GOOD], [BAD], [GOOD, BAD]])
    assert [list(row) for row in rows] == [[2, 0], [0, 2], [2, 2]]
