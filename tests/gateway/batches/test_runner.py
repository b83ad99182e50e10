"""Batches run by themselves: validated, asked, retried, yielded, cancelled, expired, and taken over."""

from __future__ import annotations

import asyncio
import resource
import signal
from pathlib import Path

import pytest

from gateway.batches import run as batch_run
from gateway.batches import runner as batch_runner
from gateway.batches import verdict
from gateway.core.errors import Unavailable
from tests.gateway.batches.made import Asked, Clock, Running, jsonl, line, running
from tests.kit.eventually import eventually
from tests.kit.waiters import Waiter

TEN = jsonl([line(str(number)) for number in range(10)])


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look and try again sooner than people need."""
    for module, name in (
        (batch_runner, "LOOK_SECONDS"),
        (batch_runner, "TROUBLED_SECONDS"),
        (batch_runner, "_TICK_SECONDS"),
        (batch_run, "STORAGE_SECONDS"),
        (verdict, "_FIRST"),
        (verdict, "_LONGEST"),
    ):
        monkeypatch.setattr(module, name, 0.02)


async def test_every_line_is_asked_once(tmp_path: Path) -> None:
    async with running(tmp_path) as made:
        batch = await made.until(await made.begun(TEN), "completed")
        assert (batch.counts.total, batch.counts.completed, batch.counts.failed) == (10, 10, 0)
        assert len(made.asker.bodies) == 10
        assert sorted(each["custom_id"] for each in await made.results(batch.output_file_id)) == sorted("0123456789")
        assert (made.counts.lines["completed"], made.counts.ended["completed"]) == (10, 1)
        assert made.counts.in_flight == 0


async def test_refusals_and_failures_are_tried_again_and_errors_of_lines_are_not(tmp_path: Path) -> None:
    asker = Asked()
    asker.statuses = [503, 200, 502, 400, Unavailable("full", retry_after=0.01), 429]
    async with running(tmp_path, asker) as made:
        batch = await made.until(await made.begun(TEN), "completed")
        assert (batch.counts.completed, batch.counts.failed) == (9, 1)
        assert made.counts.lines["retried"] == 4
        (error,) = await made.results(batch.error_file_id)
        assert (error["response"]["status_code"], error["error"]) == (400, None)


async def test_a_line_that_breaks_engines_fails_in_the_end(tmp_path: Path) -> None:
    asker = Asked()
    asker.statuses = [502] * verdict.MOST_FAILURES
    async with running(tmp_path, asker) as made:
        batch = await made.until(await made.begun(jsonl([line("a")])), "completed")
        assert (batch.counts.completed, batch.counts.failed) == (0, 1)
        assert (await made.results(batch.error_file_id))[0]["response"]["status_code"] == 502


async def test_a_cancelled_batch_stops_its_lines(tmp_path: Path) -> None:
    asker = Asked()
    asker.gate.clear()
    async with running(tmp_path, asker) as made:
        batch = await made.begun(TEN)
        await eventually(lambda: asker.waiting)
        await made.store.cancel("", batch.id)
        batch = await made.until(batch, "cancelled")
        assert (asker.waiting, batch.output_file_id, batch.error_file_id) == (0, None, None)
        assert made.counts.lines["yielded"] == 0


async def test_a_batch_expires_by_the_clock(tmp_path: Path) -> None:
    asker = Asked()
    asker.gate.clear()
    async with running(tmp_path, asker) as made:
        batch = await made.begun(TEN, "1h")
        await eventually(lambda: asker.waiting)
        made.clock.now += 3601
        batch = await made.until(batch, "expired")
        assert (batch.counts.completed, batch.counts.failed, asker.waiting) == (0, 10, 0)
        assert {each["error"]["code"] for each in await made.results(batch.error_file_id)} == {"batch_expired"}


async def test_two_that_share_a_folder_do_not_both_run_it_and_one_takes_over(tmp_path: Path) -> None:
    clock, first, second = Clock(), Asked(), Asked()
    first.gate.clear()
    async with running(tmp_path, second, clock) as other:
        folder = await other.store.folder()
        folder.close()
        await other.stop()
    one = Running(tmp_path, first, clock)
    one.runner.start()
    batch = await one.begun(TEN)
    await eventually(lambda: first.waiting)
    async with running(tmp_path, second, clock) as other:
        assert (await other.store.batch("", batch.id)).status == "in_progress"
        assert not await other.files.run((await other.store.folder()).take_over)
        await one.stop()
        batch = await other.until(batch, "completed")
        assert (len(second.bodies), batch.counts.completed) == (10, 10)


async def test_a_batch_whose_key_is_gone_waits_for_it(tmp_path: Path) -> None:
    asker = Asked()
    key, asker.key = asker.key, None
    async with running(tmp_path, asker) as made:
        batch = await made.begun(TEN)
        await asyncio.sleep(0.1)
        assert (await made.store.batch("", batch.id)).status == "validating"
        asker.key = key
        await made.until(batch, "completed")


async def test_a_key_that_is_gone_is_not_used_even_for_batches_that_expire(tmp_path: Path) -> None:
    asker = Asked()
    asker.key = None
    async with running(tmp_path, asker) as made:
        batch = await made.begun(TEN)
        made.clock.now += 10 * 24 * 3600
        assert (await made.until(batch, "expired")).counts.failed == 10
        assert asker.bodies == []


async def test_owners_share_alike(tmp_path: Path) -> None:
    asker = Asked()
    asker.gate.clear()
    async with running(tmp_path, asker, max_concurrency=1) as made:
        many = await made.begun(TEN)
        await eventually(lambda: asker.waiting)
        few = await made.begun(jsonl([line("few")]))
        await made.until(few, "in_progress")
        asker.gate.set()
        few = await made.until(few, "completed")
        many = await made.until(many, "completed")
        assert many.completed_at is not None
        assert (many.counts.completed, few.counts.completed) == (10, 1)


async def test_a_full_disk_stops_the_batch_and_loses_nothing(tmp_path: Path) -> None:
    asker = Asked()
    asker.gate.clear()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        async with running(tmp_path, asker) as made:
            batch = await made.begun(TEN)
            await eventually(lambda: asker.waiting)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
            asker.gate.set()
            await eventually(lambda: not asker.waiting)
            await asyncio.sleep(0.1)
            asked = len(asker.bodies)
            assert asked < 10
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            batch = await made.until(batch, "completed")
            assert (batch.counts.completed, len(asker.bodies)) == (10, 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_an_index_that_cannot_be_read_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = tmp_path / "f" / "batches" / "index.sqlite3"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no database at all" * 100)
    async with running(tmp_path) as made:
        await eventually(lambda: "file is not a database" in caplog.text)
        broken.unlink()
        await made.until(await made.begun(TEN), "completed")


async def test_a_line_that_yields_is_asked_again(tmp_path: Path) -> None:
    asker = Asked()
    asker.gate.clear()
    async with running(tmp_path, asker) as made:
        batch = await made.begun(jsonl([line("a")]))
        await eventually(lambda: asker.waiting)
        admission = asker.pool.admission
        # All slots are taken, and one more request waits.
        for _ in range(9):
            admission.admit(Waiter())
        await eventually(lambda: made.counts.lines["yielded"] == 1)
        assert not asker.waiting
        asker.gate.set()
        for _ in range(9):
            admission.release(Waiter())
        batch = await made.until(batch, "completed")
        assert (batch.counts.completed, len(asker.bodies)) == (1, 2)
