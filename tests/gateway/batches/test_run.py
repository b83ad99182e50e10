"""A batch goes on where it stood, whenever its process ended, and each line has one result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.batches.counts import BatchCounts
from gateway.batches.records import RequestCounts
from gateway.batches.results import LineResponse, Result, body_of
from gateway.batches.run import BatchRun
from gateway.batches.store import BatchStore
from gateway.core.errors import StorageFailed
from gateway.files.folder import FileFolder
from tests.gateway.batches.made import Asked, Clock, Running, jsonl, line

IDS = ["a", "b", "c", "d"]
CONTENT = jsonl([line(each) for each in IDS])


async def opened(made: Running, batch_id: str) -> BatchRun:
    """Take a batch up from where it stands, as a process does that has just begun."""
    store = BatchStore(made.files, made.store.settings, made.clock)
    run = BatchRun(await store.batch("", batch_id), store, await store.folder(), BatchCounts())
    assert await run.begin(lambda name: name or "")
    return run


async def answer(run: BatchRun, number: int = 1) -> None:
    for _ in range(number):
        assert run.has_line(0.0)
        custom_id = (await run.read(run.lines.take())).custom_id
        result = Result(f"batch_req_{custom_id}", custom_id, LineResponse(200, "r", body_of(b"{}")))
        run.answered(result, completed=True)


async def test_only_lines_without_a_result_are_asked_after_a_restart(tmp_path: Path) -> None:
    made = Running(tmp_path, Asked(), Clock())
    batch = await made.begun(CONTENT)
    run = await opened(made, batch.id)
    await answer(run, 2)
    taken = run.lines.take() if run.has_line(0.0) else None
    assert taken is not None
    await run.close()
    again = await opened(made, batch.id)
    assert again.counts == RequestCounts(4, 2, 0)
    await answer(again, 2)
    assert not again.has_line(0.0)
    await again.over.wait()
    await again.finish()
    await again.close()
    batch = await made.store.batch("", batch.id)
    assert (batch.status, batch.counts) == ("completed", RequestCounts(4, 4, 0))
    assert [each["custom_id"] for each in await made.results(batch.output_file_id)] == IDS
    assert not list((tmp_path / "f" / "batches").glob("batch_*"))
    await made.stop()


async def test_a_line_that_was_cut_is_asked_again(tmp_path: Path) -> None:
    made = Running(tmp_path, Asked(), Clock())
    batch = await made.begun(CONTENT)
    run = await opened(made, batch.id)
    await answer(run, 3)
    await run.close()
    path = tmp_path / "f" / "batches" / batch.id / "output.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    again = await opened(made, batch.id)
    assert again.has_line(0.0)
    assert (await again.read(again.lines.take())).custom_id == "c"
    await again.close()
    await made.stop()


@pytest.mark.parametrize("step", ["adopt_file", "index"])
async def test_an_end_between_any_two_steps_of_the_end_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    made = Running(tmp_path, Asked(), Clock())
    batch = await made.begun(CONTENT)
    run = await opened(made, batch.id)
    await answer(run, 4)
    await run.over.wait()
    adopt = FileFolder.adopt_file

    def fails(*arguments: object) -> None:
        if step == "index":
            adopt(*arguments)  # type: ignore[arg-type]
        raise OSError(5, "broken")

    monkeypatch.setattr(FileFolder, "adopt_file", fails)
    with pytest.raises(StorageFailed):
        await run.finish()
    await run.close()
    monkeypatch.undo()
    assert (await made.store.batch("", batch.id)).status == "finalizing"
    again = await opened(made, batch.id)
    await again.over.wait()
    await again.finish()
    await again.close()
    batch = await made.store.batch("", batch.id)
    assert batch.status == "completed"
    assert len(await made.results(batch.output_file_id)) == 4
    assert len(list((tmp_path / "f" / "files").iterdir())) == 2
    await made.stop()


async def test_what_was_not_asked_in_time_is_told_line_by_line(tmp_path: Path) -> None:
    made = Running(tmp_path, Asked(), Clock())
    batch = await made.begun(CONTENT, window="1h")
    run = await opened(made, batch.id)
    await answer(run)
    made.clock.now += 3600
    run.end("expired")
    await run.finish()
    await run.close()
    batch = await made.store.batch("", batch.id)
    assert (batch.status, batch.expired_at, batch.counts) == ("expired", 1_003_600, RequestCounts(4, 1, 3))
    assert [each["custom_id"] for each in await made.results(batch.output_file_id)] == ["a"]
    errors = await made.results(batch.error_file_id)
    assert [each["custom_id"] for each in errors] == ["b", "c", "d"]
    assert errors[0]["response"] is None
    assert errors[0]["error"]["code"] == "batch_expired"
    assert json.dumps(errors[0]).count("\n") == 0
    await made.stop()
