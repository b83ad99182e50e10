"""Runs the batches: one process of all that share the folder does, with whatever capacity is idle."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from time import perf_counter
from typing import NamedTuple, Protocol

from gateway.batches.counts import BatchCounts
from gateway.batches.folder import BatchFolder
from gateway.batches.lane import Lane
from gateway.batches.lines_left import Line
from gateway.batches.records import UNDER_WAY, Batch
from gateway.batches.results import LineResponse, Result, body_of
from gateway.batches.run import STORAGE_SECONDS, BatchRun
from gateway.batches.store import BatchStore
from gateway.batches.verdict import Verdict, pause, verdict
from gateway.core.errors import GatewayError, StorageFailed
from gateway.core.keys import Key
from gateway.core.tasks import cancelled
from gateway.files.records import new_id
from gateway.pools.pool import Pool

_LOG = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often the index is looked at for batches that other processes have begun or cancelled."""

TROUBLED_SECONDS = 30.0
"""How long the index is left alone that cannot be read."""

_TICK_SECONDS = 0.1
"""How often lanes are looked at: for requests that wait in other processes, and for room that nobody told of."""


class Answer(NamedTuple):
    """What the gateway has answered to a line.

    ``error`` is the gateway's own, if it has one. ``seconds`` is how long an engine took, ``tokens`` how many it made,
    or read where it makes none.
    """

    status: int
    body: bytes
    error: GatewayError | None
    seconds: float
    tokens: int


class Asker(Protocol):
    """What answers the lines: the gateway that batches run in."""

    def key_of(self, owner: str) -> Key | None:
        """Find the key of an owner; ``None`` for one that is no longer there, or has expired."""

    def model_of(self, key: Key, endpoint: str, name: str | None) -> str:
        """Give the model that a line asks. Raises a ``GatewayError`` if the key may not, or there is none."""

    def pool_of(self, model: str) -> Pool | None:
        """Find the pool of a model; ``None`` if there is no such model any more."""

    async def ask(self, key: Key, endpoint: str, request_id: str, body: bytes) -> Answer:
        """Ask one line; to be cancelled is to stop the engine."""


class BatchRunner:
    """Runs the batches of one folder, unless another process does; tries to take over once a second."""

    def __init__(self, store: BatchStore, asker: Asker, counts: BatchCounts) -> None:
        self._store = store
        self._asker = asker
        self._counts = counts
        self._runs: dict[str, BatchRun] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}
        """What each batch under way is carried out by."""
        self._lanes: dict[Pool, Lane] = {}
        self._asking: dict[asyncio.Task[Result | None], BatchRun] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False
        self._tidied = False

    def __repr__(self) -> str:
        return f"<BatchRunner [{len(self._runs)} batches, {len(self._asking)} lines in flight]>"

    def start(self) -> None:
        """Run batches from now on."""
        self._store.changed = self._wake.set
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(_tell)

    def ask_no_more(self) -> None:
        """Let the lines that are under way end, and begin no other."""
        self._draining = True

    async def stop(self) -> None:
        """Stop what is under way, to be gone on with by who runs the batches next; harmless before the start."""
        self._draining = True
        if self._task is not None:
            await cancelled([self._task])
        await cancelled(list(self._asking))
        await cancelled(list(self._lives.values()))
        self._fill_again(0.0)
        self._close_lanes()
        self._counts.hold_nothing()
        await self._store.stop()

    # inside: which batches there are

    async def _run(self) -> None:
        due = 0.0
        while True:
            now = perf_counter()
            if now >= due or self._wake.is_set():
                self._wake.clear()
                due = now + LOOK_SECONDS
                try:
                    await self._look()
                except StorageFailed:
                    # It is in the log, which need not say it each second.
                    due = now + TROUBLED_SECONDS
            for lane in self._lanes.values():
                lane.make_room()
            self._fill()
            try:
                async with asyncio.timeout(_TICK_SECONDS if self._runs else LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        """Take over what the index says: batches that are new, or are to end."""
        store = self._store
        folder = await store.folder_if_any()
        if folder is None or not await store.files.run(folder.take_over):
            return
        if not self._tidied:
            await store.files.run(folder.tidy, store.clock())
            self._tidied = True
        batches = await store.files.run(folder.index.under_way)
        for batch in batches:
            run = self._runs.get(batch.id)
            if run is not None:
                if batch.status == "cancelling":
                    run.end("cancelled")
                elif batch.status == "in_progress" and batch.expires_at <= store.clock():
                    run.end("expired")
            elif batch.id not in self._lives and not self._draining:
                life = asyncio.get_running_loop().create_task(self._live(batch, folder))
                self._lives[batch.id] = life
                life.add_done_callback(partial(self._lived, batch.id))
        self._counts.under_way = {status: sum(batch.status == status for batch in batches) for status in UNDER_WAY}

    async def _live(self, batch: Batch, folder: BatchFolder) -> None:
        """Carry a batch out, from where it stands to its end."""
        run = BatchRun(batch, self._store, folder, self._counts)
        try:
            key = self._asker.key_of(batch.owner)
            if key is None and batch.status == "validating" and batch.expires_at > self._store.clock():
                # Nobody may ask for it now; it is looked at again.
                return None
            model_of = _anything if key is None else partial(self._asker.model_of, key, batch.endpoint)
            if not await run.begin(model_of):
                return None
            self._runs[batch.id] = run
            self._wake.set()
            await run.over.wait()
            await cancelled([task for task, its in self._asking.items() if its is run])
            while True:
                try:
                    return await run.finish()
                except StorageFailed:
                    await asyncio.sleep(STORAGE_SECONDS)
        except StorageFailed:
            # The next look begins it once more.
            return None
        finally:
            self._runs.pop(batch.id, None)
            await run.close()

    def _lived(self, batch_id: str, life: asyncio.Task[None]) -> None:
        del self._lives[batch_id]
        if not life.cancelled() and (error := life.exception()) is not None:
            _LOG.error("the batch %s was interrupted by a mistake of the gateway's own", batch_id, exc_info=error)

    # inside: which lines are asked

    def _fill(self) -> None:
        """Begin as many lines as there is room for, of each owner as many as of any other."""
        if self._draining:
            return
        by_lane: dict[Lane, list[BatchRun]] = {}
        for run in self._runs.values():
            pool = self._asker.pool_of(run.batch.model or "")
            if pool is not None:
                by_lane.setdefault(self._lane(pool), []).append(run)
        self._close_lanes(keep=set(by_lane))
        now = perf_counter()
        for lane, runs in by_lane.items():
            for _ in range(lane.room):
                able = [run for run in runs if run.has_line(now)]
                if not able or not self._begin(lane, min(able, key=self._share)):
                    break
        self._fill_again(min(filter(None, (lane.starts_in for lane in by_lane)), default=0.0))

    def _fill_again(self, seconds: float) -> None:
        """Look once more when the next line may begin, if that is before the next tick."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if 0.0 < seconds < _TICK_SECONDS:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._fill)

    def _share(self, run: BatchRun) -> tuple[int, int]:
        """Tell how much of the capacity a batch has by its owner, and by itself."""
        owner = run.batch.owner
        return sum(
            each.lines.in_flight for each in self._runs.values() if each.batch.owner == owner
        ), run.lines.in_flight

    def _lane(self, pool: Pool) -> Lane:
        if pool not in self._lanes:
            self._lanes[pool] = Lane(pool, self._store.settings.max_concurrency)
        return self._lanes[pool]

    def _close_lanes(self, keep: set[Lane] | frozenset[Lane] = frozenset()) -> None:
        for pool, lane in list(self._lanes.items()):
            if lane not in keep and not lane.running:
                lane.close()
                del self._lanes[pool]

    def _begin(self, lane: Lane, run: BatchRun) -> bool:
        """Begin a line; return whether its owner may ask anything now."""
        key = self._asker.key_of(run.batch.owner)
        if key is None:
            run.paused_until = perf_counter() + LOOK_SECONDS
            return False
        line = run.lines.take()
        task = asyncio.get_running_loop().create_task(self._ask(lane, run, line, key))
        self._asking[task] = run
        self._counts.in_flight += 1
        lane.begun(task)
        task.add_done_callback(partial(self._asked, lane, run, line))
        return True

    async def _ask(self, lane: Lane, run: BatchRun, line: Line, key: Key) -> Result | None:
        """Ask a line; return its result, or nothing if it is to be asked again."""
        request = await run.read(line)
        request_id = new_id("batch_req_")
        answer = await self._asker.ask(key, run.batch.endpoint, request_id, bytes(request.body))
        response = LineResponse(answer.status, request_id, body_of(answer.body))
        match verdict(answer.status, answer.error, line.failures):
            case Verdict.COUNTS:
                run.refusals = 0
                if answer.status < 400:
                    lane.answered(answer.seconds, answer.tokens)
                return Result(request_id, request.custom_id, response)
            case Verdict.FULL:
                run.refusals += 1
                retry_after = None if answer.error is None else answer.error.retry_after
                run.paused_until = perf_counter() + pause(run.refusals, retry_after)
                if answer.error is None or not answer.error.reason:
                    # What a limit of the key refuses says nothing of the engines.
                    lane.refused()
                run.lines.put_back(line)
            case Verdict.FAILED:
                run.lines.put_off(line, perf_counter() + pause(line.failures + 1))
        return None

    def _asked(self, lane: Lane, run: BatchRun, line: Line, task: asyncio.Task[Result | None]) -> None:
        """Go on when a line has been asked, or was stopped."""
        yielded = lane.ended(task)
        del self._asking[task]
        self._counts.in_flight -= 1
        if task.cancelled():
            self._counts.lines["yielded"] += yielded
            run.lines.put_back(line)
        elif (error := task.exception()) is not None:
            if not isinstance(error, StorageFailed):
                _LOG.error("a line of the batch %s was not asked", run.batch.id, exc_info=error)
            run.lines.put_off(line, perf_counter() + pause(line.failures + 1))
        elif (result := task.result()) is None:
            self._counts.lines["retried"] += 1
        else:
            completed = result.response is not None and result.response.status_code < 400
            self._counts.lines["completed" if completed else "failed"] += 1
            run.answered(result, completed=completed)
        self._fill()


def _tell(task: asyncio.Task[None]) -> None:
    """Let people know of a mistake that ends the running of batches: nobody waits for its task."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.error("batches run no more because of a mistake of the gateway's own", exc_info=error)


def _anything(name: str | None) -> str:
    """Let the name of a model be: nothing is asked."""
    return name or ""
