"""What may be asked of a job in which state, and what is said where it may not."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engines.tuning.errors import TuningError
from engines.tuning.records import Job, JobError, Stage, Status
from engines.tuning.runner import Runner
from engines.tuning.service import Service
from engines.tuning.store import Store
from tests.kit.tuning import order, settings, start_child


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Make a service over a runner that has been stopped already, and so trains nothing."""
    (tmp_path / "tuning" / "jobs").mkdir(parents=True)
    store = Store(tmp_path / "tuning" / "jobs.sqlite3")
    service = Service(store)
    service.runner = Runner(store, settings(tmp_path), lambda *_: None, start_child, service.changed)
    await service.runner.stop()
    yield service
    await service.runner.stop()
    store.close()


def with_job(service: Service, folder: Path, status: Status, stage: Stage = "train", owner: str = "a") -> str:
    job = Job(id="ftjob-1", name="ft:m", order=order(folder, owner=owner), created_at=0, status=status, stage=stage)
    (folder / "tuning" / "jobs" / job.id).mkdir()
    service._store.add(job)
    return job.id


async def test_a_job_is_named_after_its_base_its_owner_and_its_suffix(service: Service, tmp_path: Path) -> None:
    shown = await service.create(order(tmp_path, "mine", owner="a"))
    assert (shown.status, shown.organization_id, shown.fine_tuned_model) == ("validating_files", "acme", None)
    (job,) = service.jobs("a", 10, None, {}).data
    assert job.id == shown.id
    assert service.jobs("b", 10, None, {}).data == []


async def test_a_name_that_would_be_too_long_is_refused(service: Service, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="over 200 characters"):
        await service.create(order(tmp_path, base="m" * 190))


async def test_examples_that_have_gone_meanwhile_leave_no_job(service: Service, tmp_path: Path) -> None:
    asked = order(tmp_path)
    (tmp_path / "examples.jsonl").unlink()
    with pytest.raises(TuningError, match="not there any more"):
        await service.create(asked)
    assert service.jobs("", 10, None, {}).data == []


@pytest.mark.parametrize(
    ("status", "stage", "able"),
    [
        ("validating_files", "train", {"cancel"}),
        ("queued", "train", {"cancel", "pause"}),
        ("running", "train", {"cancel", "pause"}),
        ("running", "publish", {"cancel"}),
        ("paused", "train", {"cancel", "resume"}),
        ("succeeded", "done", set()),
        ("failed", "done", set()),
        ("cancelled", "done", set()),
    ],
)
async def test_what_may_be_done(status: Status, stage: Stage, able: set[str], service: Service, tmp_path: Path) -> None:
    job_id = with_job(service, tmp_path, status, stage)
    becomes = {"cancel": "cancelled", "pause": "paused", "resume": "queued"}
    for action in {"cancel", "pause", "resume"} - able:
        with pytest.raises(TuningError, match=f"is {status}.* can be"):
            getattr(service, action)("a", job_id)
        assert service.show("a", job_id).status == status
    for action in sorted(able, reverse=True)[:1]:
        assert getattr(service, action)("a", job_id).status == becomes[action]


async def test_a_job_is_shown_as_it_was_while_the_disk_is_full(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = with_job(service, tmp_path, "running")
    events = tmp_path / "tuning" / "jobs" / job_id / "events.jsonl"
    events.write_text('{"type": "message", "message": "One step"}\n{"type": "trained", "trained_tokens": 5}\n')

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(service._store, "save", full)
        assert service.show("a", job_id).trained_tokens is None
        assert [job.trained_tokens for job in service.jobs("a", 10, None, {}).data] == [None]
        assert service.events("a", job_id, 10, None).data == []
    assert service.show("a", job_id).trained_tokens == 5
    assert [event.message for event in service.events("a", job_id, 10, None).data] == ["One step"]


async def test_nobody_sees_or_ends_the_jobs_of_others(service: Service, tmp_path: Path) -> None:
    job_id = with_job(service, tmp_path, "running")
    for ask in (service.show, service.cancel, service.pause, service.resume):
        with pytest.raises(TuningError, match="There is no fine-tuning job 'ftjob-1'"):
            ask("b", job_id)
    with pytest.raises(TuningError, match="There is no fine-tuning job"):
        service.events("b", job_id, 10, None)


@pytest.mark.parametrize("after", ["ftevent-x", "ftckpt-1", "1"])
async def test_a_page_begins_behind_what_there_is(after: str, service: Service, tmp_path: Path) -> None:
    job_id = with_job(service, tmp_path, "running")
    with pytest.raises(TuningError, match="after which to begin"):
        service.events("a", job_id, 10, after)


async def test_a_model_is_deleted_when_the_gateway_has_withdrawn_it(service: Service, tmp_path: Path) -> None:
    with_job(service, tmp_path, "succeeded", "done")
    with pytest.raises(TuningError, match="no fine-tuned model 'ft:m' of yours"):
        await service.delete_model("b", "ft:m")
    deleting = asyncio.create_task(service.delete_model("a", "ft:m"))
    task = await service.next_task(10.0)
    assert task is not None
    assert (task.do, task.name, deleting.done()) == ("withdraw", "ft:m", False)
    service.withdrawn("ftjob-1")
    await deleting
    with pytest.raises(TuningError, match="no fine-tuned model"):
        await service.delete_model("a", "ft:m")
    assert await service.next_task(0.0) is None


async def test_a_report_about_a_job_that_was_cancelled_meanwhile_is_refused(service: Service, tmp_path: Path) -> None:
    job_id = with_job(service, tmp_path, "running", "publish")
    service.cancel("a", job_id)
    with pytest.raises(TuningError) as refused:
        service.published(job_id, [])
    assert refused.value.status == 409
    service.withdrawn(job_id)
    assert service.show("a", job_id).status == "cancelled"


async def test_a_model_that_is_not_served_fails_its_job(service: Service, tmp_path: Path) -> None:
    job_id = with_job(service, tmp_path, "running", "publish")
    service.refused(job_id, JobError("publishing_failed", "It answers wrongly."))
    shown = service.show("a", job_id)
    assert (shown.status, shown.error) == ("failed", JobError("publishing_failed", "It answers wrongly."))


async def test_counts_are_told_at_once_to_who_knows_none_and_else_when_they_change(
    service: Service, tmp_path: Path
) -> None:
    assert await service.counts(None, 10.0) == {}
    asked = asyncio.create_task(service.counts({}, 10.0))
    await service.create(order(tmp_path, owner="a"))
    assert await asked == {"validating_files": 1}
    with_job(service, tmp_path, "queued")
    known = await service.counts(None, 10.0)
    assert known == {"validating_files": 1, "queued": 1}
    asked = asyncio.create_task(service.counts(known, 10.0))
    service.pause("a", "ftjob-1")
    assert await asked == {"validating_files": 1, "paused": 1}


async def test_counts_that_stay_are_told_after_a_while(service: Service, tmp_path: Path) -> None:
    with_job(service, tmp_path, "paused")
    assert await service.counts({"paused": 1}, 0.0) == {"paused": 1}


async def test_a_base_is_asked_for_jobs_that_are_known(service: Service, tmp_path: Path) -> None:
    service.warmed_up(with_job(service, tmp_path, "running", "publish"))
    with pytest.raises(TuningError, match="no fine-tuning job"):
        service.warmed_up("ftjob-2")
