"""A model's files are brought once for all of its replicas, on a thread that nobody has to wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from engines.errors import ContentError, SourceError
from engines.files.prepare import Preparation
from engines.spec import EngineSpec, FolderSource, Launch, Listen, Progress
from tests.kit.eventually import PATIENCE

CACHE, FILES = Path("/cache"), Path("/files")
SPEC = EngineSpec("m", "vllm", FolderSource(FILES))


class Bringing:
    """A launcher whose preparation is a function of the test; it counts the calls."""

    def __init__(self, bring: Callable[[Progress], Path]) -> None:
        self._bring = bring
        self.asked: list[tuple[EngineSpec, Path]] = []

    def prepare(self, spec: EngineSpec, cache: Path, progress: Progress) -> Path:
        self.asked.append((spec, cache))
        return self._bring(progress)

    def launch(self, spec: EngineSpec, folder: Path, devices: Sequence[str], listen: Listen) -> Launch:
        raise AssertionError("nothing is started here")


def silent(_: str) -> None:
    pass


def test_replicas_that_ask_at_once_share_the_files() -> None:
    launcher = Bringing(lambda _: FILES)

    async def ask() -> list[Path]:
        preparation = Preparation(SPEC, launcher, CACHE)
        return await asyncio.gather(*(preparation.folder(silent) for _ in range(3)), preparation.folder(silent))

    assert asyncio.run(ask()) == [FILES] * 4
    assert launcher.asked == [(SPEC, CACHE)]


async def test_steps_are_told_on_the_loop_while_it_works() -> None:
    told: list[tuple[str, int]] = []
    first_told = threading.Event()

    def bring(progress: Progress) -> Path:
        progress("downloading")
        assert first_told.wait(PATIENCE)
        progress("checking")
        return FILES

    def tell(step: str) -> None:
        told.append((step, threading.get_ident()))
        first_told.set()

    assert await Preparation(SPEC, Bringing(bring), CACHE).folder(tell) == FILES
    assert told == [("downloading", threading.get_ident()), ("checking", threading.get_ident())]


@pytest.mark.parametrize("failure", [SourceError("The index is away."), OSError("No threads left.")])
async def test_after_a_failure_it_may_be_tried_again(failure: Exception) -> None:
    outcomes = iter([failure])

    def bring(_: Progress) -> Path:
        for outcome in outcomes:
            raise outcome
        return FILES

    preparation = Preparation(SPEC, Bringing(bring), CACHE)
    with pytest.raises(type(failure), match=str(failure)):
        await preparation.folder(silent)
    assert await preparation.folder(silent) == FILES


async def test_a_package_with_the_wrong_contents_is_not_fetched_again() -> None:
    def bring(_: Progress) -> Path:
        raise ContentError("The digest is wrong.")

    launcher = Bringing(bring)
    preparation = Preparation(SPEC, launcher, CACHE)
    for _ in range(3):
        with pytest.raises(ContentError, match=r"^The digest is wrong\.$"):
            await preparation.folder(silent)
    assert len(launcher.asked) == 1


def test_who_gives_up_neither_waits_nor_hears_of_it_again() -> None:
    began, go_on, told = (threading.Event() for _ in range(3))
    heard: list[str] = []

    def bring(progress: Progress) -> Path:
        began.set()
        assert go_on.wait(PATIENCE)
        progress("too late")
        told.set()
        return FILES

    async def give_up() -> None:
        task = asyncio.create_task(Preparation(SPEC, Bringing(bring), CACHE).folder(heard.append))
        await asyncio.to_thread(began.wait)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        go_on.set()
        await asyncio.to_thread(told.wait)

    asyncio.run(give_up())
    assert heard == []


def test_a_loop_can_close_while_files_are_being_brought() -> None:
    began, go_on = threading.Event(), threading.Event()
    after: list[str] = []

    def bring(progress: Progress) -> Path:
        began.set()
        assert go_on.wait(PATIENCE)
        progress("nobody is there")
        after.append("went on although nobody was there")
        return FILES

    async def give_up() -> None:
        asyncio.create_task(Preparation(SPEC, Bringing(bring), CACHE).folder(silent))  # noqa: RUF006 - the loop ends it
        await asyncio.to_thread(began.wait)

    asyncio.run(give_up())
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "prepare m")
    assert thread.daemon
    go_on.set()
    thread.join(10)
    assert not thread.is_alive()
    assert after == []
