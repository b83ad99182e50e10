"""The leak checks find leaks."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.kit import leaks
from tests.kit.leaks import nothing_left, open_files, open_tasks


def test_open_files_are_known_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("w") as file:
        assert open_files()[file.fileno()] == str(path)
    assert str(path) not in open_files().values()


async def test_open_tasks_are_all_but_the_one_that_asks() -> None:
    assert open_tasks() == set()
    task = asyncio.create_task(asyncio.Event().wait(), name="forgotten")
    (found,) = open_tasks()
    assert "forgotten" in found
    task.cancel()


async def test_nothing_left_is_content_with_nothing() -> None:
    async with nothing_left():
        await asyncio.create_task(asyncio.sleep(0))


async def test_nothing_left_waits_for_what_is_about_to_close() -> None:
    async with nothing_left():
        task = asyncio.create_task(asyncio.sleep(0.01))
    assert task.done()


async def test_nothing_left_finds_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_PATIENCE", 0.0)
    path = tmp_path / "a"
    with pytest.raises(AssertionError, match=str(path)):
        async with nothing_left():
            descriptor = os.open(path, os.O_CREAT)
    os.close(descriptor)


async def test_nothing_left_finds_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_PATIENCE", 0.0)
    with pytest.raises(AssertionError, match="forgotten"):
        async with nothing_left():
            task = asyncio.create_task(asyncio.Event().wait(), name="forgotten")
    task.cancel()
