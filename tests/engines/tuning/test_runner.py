"""Jobs go on through deaths, pauses and the end of the server, one at a time, and end in one way."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engines.processes.restart import RestartPolicy
from engines.tuning.records import Job, JobError, JobOrder
from engines.tuning.runner import Runner
from engines.tuning.store import Store
from tests.kit.eventually import PATIENCE, eventually
from tests.kit.tuning import order, settings, start_child

pytestmark = pytest.mark.slow

_AT_ONCE = RestartPolicy(first=0.01, longest=0.01)


class Here:
    """A runner over a folder, which may end and be followed by another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "tuning" / "jobs.sqlite3")
        self.changed = 0
        self.runner = Runner(self.store, settings(folder), lambda *_: None, start_child, self._note, _AT_ONCE)
        self.runner.start()

    def _note(self) -> None:
        self.changed += 1

    async def add(self, suffix: str = "", number: int = 1, **other: object) -> str:
        return await self.add_order(order(self.folder, suffix, **other), number)

    async def add_order(self, asked: JobOrder, number: int = 1) -> str:
        job = Job(id=f"ftjob-{number}", name=f"ft:base:acme:{asked.suffix}:{number}", order=asked, created_at=0)
        await self.runner.add(job)
        return job.id

    def job(self, job_id: str) -> Job:
        job = self.store.find(job_id)
        assert job is not None
        return self.runner.states.catch_up(job)

    async def until(self, job_id: str, holds: Callable[[Job], object]) -> Job:
        async with asyncio.timeout(PATIENCE):
            while True:
                job = self.job(job_id)
                if holds(job):
                    return job
                await asyncio.sleep(0.01)

    async def until_held(self, job_id: str) -> Job:
        """Wait until a training that holds has its first checkpoint."""
        return await self.until(job_id, lambda _: self.store.checkpoints(job_id, 1, None)[0])

    def said(self, job_id: str) -> list[str]:
        self.job(job_id)
        return [event.message for event in reversed(self.store.events(job_id, 100, None)[0])]

    def let_go(self) -> None:
        (self.folder / "weights" / "go").touch()

    async def end(self) -> None:
        await self.runner.stop()
        self.store.close()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Here]:
    here = Here(folder)
    try:
        yield here
    finally:
        await here.end()


@pytest.fixture
async def here(folder: Path) -> AsyncIterator[Here]:
    async with running(folder) as started:
        yield started


def children_of(job_id: str) -> list[int]:
    """Find the processes that train a job: not their shims."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(word.endswith(job_id.encode()) for word in words) and not any(b"shim" in word for word in words):
                found.append(int(entry.name))
    return found


def left_of(here: Here, job_id: str) -> set[str]:
    return {each.name for each in (here.folder / "tuning" / "jobs" / job_id).iterdir()}


async def test_the_base_of_an_adapter_is_asked_once_while_that_is_trained(here: Here) -> None:
    job_id = await here.add("holds", kind="lora")
    await here.until_held(job_id)
    task = here.runner.task()
    assert task is not None
    assert (task.do, task.base) == ("warm_up", "base")
    assert (Path(task.folder) / "training.jsonl").exists()
    here.runner.warmed_up(here.job(job_id))
    assert here.runner.task() is None
    here.let_go()
    await here.until(job_id, lambda job: job.stage == "publish")
    task = here.runner.task()
    assert task is not None
    assert task.do == "publish"
    # One that is too late changes nothing.
    here.runner.warmed_up(here.job(job_id))
    assert here.runner.task() == task


async def test_a_job_is_trained_and_left_to_be_published(here: Here) -> None:
    job_id = await here.add()
    job = await here.until(job_id, lambda job: job.stage == "publish")
    assert (job.status, job.trained_tokens, job.hyperparameters.n_epochs) == ("running", 1234, 3)
    task = here.runner.task()
    assert task is not None
    assert (task.do, task.name) == ("publish", "ft:base:acme::1")
    assert (Path(task.folder) / "result" / "model" / "model.onnx").exists()
    here.runner.states.published(job, ["file-1"])
    assert (here.job(job_id).status, here.job(job_id).result_files) == ("succeeded", ["file-1"])
    assert left_of(here, job_id) == {"train.log", "result"}
    assert here.runner.task() is None


async def test_one_that_is_killed_goes_on_from_its_last_checkpoint(here: Here) -> None:
    job_id = await here.add("holds")
    await here.until_held(job_id)
    for pid in children_of(job_id):
        os.kill(pid, signal.SIGKILL)
    await here.until(job_id, lambda _: "training from step 1" in here.said(job_id))
    here.let_go()
    await here.until(job_id, lambda job: job.stage == "publish")
    steps = [message for message in here.said(job_id) if message.startswith("Step ")]
    assert [message.partition("/")[0] for message in steps] == ["Step 1", "Step 2", "Step 3", "Step 4"]
    assert any("exit code 137" in message for message in here.said(job_id))


async def test_one_that_dies_three_times_without_getting_further_is_given_up(here: Here) -> None:
    job = await here.until(await here.add("dies"), lambda job: job.status == "failed")
    assert job.error is not None
    assert job.error.code == "training_failed"
    assert "3 times in a row" in job.error.message
    assert "no more memory" in job.error.message


async def test_one_that_dies_once_is_not(here: Here) -> None:
    job = await here.until(await here.add("dies-once"), lambda job: job.stage == "publish")
    assert job.deaths == 0


async def test_one_that_refuses_its_data_is_not_tried_again(here: Here) -> None:
    job = await here.until(await here.add("refuses"), lambda job: job.status == "failed")
    assert job.error == JobError("invalid_training_file", "The losses are no numbers.", "training_file")
    assert here.said(job.id).count("training from step 0") == 1


async def test_jobs_wait_for_each_other(here: Here) -> None:
    first = await here.add("holds", 1)
    await here.until_held(first)
    second = await here.add("", 2)
    await here.until(second, lambda job: job.status == "queued")
    assert children_of(second) == []
    here.let_go()
    await here.until(second, lambda job: job.stage == "publish")
    assert here.job(first).stage == "publish"


async def test_a_paused_job_makes_room_and_goes_on_where_it_was(here: Here) -> None:
    job_id = await here.add("holds")
    here.runner.pause(await here.until_held(job_id))
    other = await here.add("", 2)
    await here.until(other, lambda job: job.stage == "publish")
    assert here.job(job_id).status == "paused"
    here.let_go()
    here.runner.resume(here.job(job_id))
    await here.until(job_id, lambda job: job.stage == "publish")
    assert "training from step 1" in here.said(job_id)
    assert here.job(job_id).deaths == 0


async def test_a_job_that_is_resumed_while_it_stops_goes_on(here: Here) -> None:
    job_id = await here.add("holds")
    here.runner.pause(await here.until_held(job_id))
    here.runner.resume(here.job(job_id))
    here.let_go()
    await here.until(job_id, lambda job: job.stage == "publish")


@pytest.mark.parametrize("suffix", ["holds", ""])
async def test_a_cancelled_job_leaves_nothing_but_its_log(suffix: str, here: Here) -> None:
    job_id = await here.add(suffix)
    job = await (here.until_held(job_id) if suffix else here.until(job_id, lambda job: job.stage == "publish"))
    here.runner.cancel(job)
    if not suffix:
        task = here.runner.task()
        assert task is not None
        assert task.do == "withdraw"
        here.runner.states.withdrawn(here.job(job_id))
    await here.until(job_id, lambda _: left_of(here, job_id) == {"train.log"})
    assert (here.job(job_id).status, here.job(job_id).stage) == ("cancelled", "done")
    assert children_of(job_id) == []


async def test_a_server_that_ends_lets_its_jobs_go_on_when_it_starts_again(folder: Path) -> None:
    async with running(folder) as first:
        job_id = await first.add("holds")
        await first.until_held(job_id)
    await eventually(lambda: not children_of(job_id))
    async with running(folder) as second:
        assert second.job(job_id).status == "running"
        second.let_go()
        await second.until(job_id, lambda job: job.stage == "publish")
        assert "training from step 1" in second.said(job_id)
        assert second.job(job_id).deaths == 0


async def test_a_result_that_was_complete_when_its_server_was_killed_is_taken_with_all_that_was_said(
    here: Here,
) -> None:
    job = await here.until(await here.add(), lambda job: job.stage == "publish")
    # What the server knew when the training had just begun.
    job.stage, job.status, job.read_bytes, job.trained_tokens = "train", "running", 0, None
    here.store.save(job)
    here.runner.look()
    again = await here.until(job.id, lambda job: job.stage == "publish")
    assert again.trained_tokens == 1234
    assert here.said(job.id).count("Fine-tuning job started") == 1


async def test_a_folder_without_a_job_goes_and_a_job_that_was_not_looked_at_is(folder: Path) -> None:
    left = folder / "tuning" / "jobs" / "ftjob-left"
    left.mkdir(parents=True)
    async with running(folder) as first:
        assert list(left.parent.iterdir()) == []
        # The server ends before it has looked at the files.
        job_id = await first.add("")
    async with running(folder) as second:
        await second.until(job_id, lambda job: job.stage == "publish")
