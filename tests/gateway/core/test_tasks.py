"""Cancelled tasks have ended."""

from __future__ import annotations

import asyncio

from gateway.core.tasks import cancelled


async def test_cancelled_tasks_have_ended() -> None:
    tasks = [asyncio.create_task(asyncio.Event().wait()) for _ in range(3)]
    await asyncio.sleep(0)
    await cancelled(tasks)
    assert all(task.done() for task in tasks)
