"""One batch while it is under way: its lines, their results, and the files that become of them.

Every step is written down before the next one depends on it, in this order:

1. The record says ``in_progress`` once all lines were found good.
2. An answer is appended to the results before its line counts as answered. What the results say is read back after a
   crash, so a line is asked again if and only if no answer of it was written. Results are synced each second, and only
   then are they counted in the record: it never tells of more than a loss of power leaves.
3. The record says ``finalizing`` when no line is left, and names the ids of the result files.
4. The results are synced, and get their second name, by which clients see them; a file that has it already is kept.
5. The record says ``completed`` (or ``expired``, or ``cancelled``) when the files are there.
6. The folder of the batch goes.

Where the gateway ends in between, all steps from 2 on are taken again, and change nothing that was done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from msgspec import structs

from gateway.batches.counts import BatchCounts
from gateway.batches.folder import BatchFolder
from gateway.batches.input_check import BatchInput, BatchLine, InputCheck
from gateway.batches.lines_left import Line, LinesLeft
from gateway.batches.records import Batch, BatchStatus, RequestCounts
from gateway.batches.results import Result, ResultError, ResultFile
from gateway.batches.store import BatchStore
from gateway.core.errors import StorageFailed
from gateway.core.tasks import cancelled
from gateway.files.records import FileRecord, new_id

CHECKPOINT_SECONDS = 1.0
"""How often results are synced and counted."""

STORAGE_SECONDS = 5.0
"""How long to wait before the disk is tried again."""

_EXPIRED = ResultError("batch_expired", "This request could not be executed before the completion window expired.")

_AT_ONCE = 1000
"""So many lines that have expired are written at once."""

_ASKED: tuple[BatchStatus, ...] = ("in_progress", "finalizing", "cancelling")
"""The statuses of batches whose lines were found good, and that have not ended."""

End = Literal["completed", "expired", "cancelled"]


class BatchRun:
    """One batch that is under way: which line comes next, and what became of those before.

    The results are made ready by ``begin``, and must be closed.
    """

    def __init__(self, batch: Batch, store: BatchStore, folder: BatchFolder, counts: BatchCounts) -> None:
        self.batch = batch
        self.counts = batch.counts
        """How many lines have results, written and maybe not yet counted in the record."""
        self.over = asyncio.Event()
        """Set when there is nothing more to ask."""
        self.ending: End = "completed"
        self.paused_until = 0.0
        """Until when no line is asked, as a ``perf_counter`` reading."""
        self.refusals = 0
        """How often in a row something was too full for a line."""
        self._store = store
        self._folder = folder
        self._counts = counts
        self._lines: LinesLeft | None = None
        self._output: ResultFile | None = None
        self._errors: ResultFile | None = None
        self._unwritten: dict[bool, list[bytes]] = {True: [], False: []}
        """Results by whether their lines were completed."""
        self._stuck = self._uncounted = False
        self._written = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        done = self.counts.completed + self.counts.failed
        return f"<BatchRun {self.batch.id} [{done} of {self.counts.total} lines; {self._lines!r}]>"

    # the beginning

    async def begin(self, model_of: Callable[[str | None], str]) -> bool:
        """Check the lines, or find those that are left; return whether there is anything to do.

        Raises ``StorageFailed``, and can be called again then.
        """
        batch, files = self.batch, self._store.files
        if batch.status == "validating":
            found = await files.run(self._check, model_of)
            if found.errors:
                await self._change("validating", "failed", failed_at=self._now, errors=found.errors)
                await files.run(self._folder.discard, batch.id)
                return False
            self.counts = RequestCounts(found.total)
            await self._change("validating", "in_progress", in_progress_at=self._now, model=found.model)
        if self.batch.in_progress_at is None:
            await self._end_unasked()
            return False
        await files.run(self._open, lambda name: self.batch.model or name or "")
        self._writing = asyncio.get_running_loop().create_task(self._write_for_ever())
        if self.batch.status == "cancelling":
            self.end("cancelled")
        elif self.batch.status == "in_progress" and self.batch.expires_at <= self._now:
            self.end("expired")
        self._look_whether_over()
        return True

    async def close(self) -> None:
        """Write what was answered, and close the files; harmless where they were never opened."""
        await self._stop_writing()
        try:
            await self._store.files.run(self._close)
        except StorageFailed:
            # What could not be written is asked again by who opens the files next.
            return

    # while it is under way

    @property
    def lines(self) -> LinesLeft:
        """The lines that are left, once it has begun."""
        assert self._lines is not None
        return self._lines

    def has_line(self, now: float) -> bool:
        """Whether a line may be asked now; ``now`` is a ``perf_counter`` reading."""
        return not self.over.is_set() and not self._stuck and now >= self.paused_until and self.lines.ready(now)

    async def read(self, line: Line) -> BatchLine:
        """Read a line. Raises ``StorageFailed``."""
        return await self._store.files.run(self.lines.read, line)

    def answered(self, result: Result, *, completed: bool) -> None:
        """Have the result of a line written that was taken."""
        self.lines.answered()
        self._unwritten[completed].append(result.encoded())
        self._written.set()

    # the end

    def end(self, how: End) -> None:
        """Ask no more."""
        if not self.over.is_set():
            self.ending = how
            self.over.set()

    async def finish(self) -> None:
        """Make files of the results, and end the batch. No line is in flight.

        Raises ``StorageFailed``, and can be called again then.
        """
        files = self._store.files
        await self._stop_writing()
        if self.ending == "completed":
            await self._change("in_progress", "finalizing", finalizing_at=self._now)
            if self.batch.status == "cancelling":
                # At the last moment, with all of its lines answered.
                self.ending = "cancelled"
        if self.ending == "expired":
            await files.run(self._expire_rest)
        await files.run(self._write_rest)
        await self._checkpoint()
        assert self._output is not None
        assert self._errors is not None
        ids = {
            "output_file_id": self.batch.output_file_id or (new_id("file-") if self._output.size else None),
            "error_file_id": self.batch.error_file_id or (new_id("file-") if self._errors.size else None),
        }
        self.batch, _ = await self._store.change(self.batch, _ASKED, **ids)
        await self._publish(self._output, self.batch.output_file_id, "output")
        await self._publish(self._errors, self.batch.error_file_id, "error")
        ended = {"status": self.ending, f"{self.ending}_at": self._now}
        self.batch, _ = await self._store.change(self.batch, _ASKED, **ended)
        self._counts.ended[self.ending] += 1
        await files.run(self._folder.discard, self.batch.id)

    # inside

    @property
    def _now(self) -> int:
        return int(self._store.clock())

    async def _change(self, before: BatchStatus, after: BatchStatus, **changes: object) -> bool:
        """Change the status, unless it was changed by somebody else meanwhile."""
        self.batch, changed = await self._store.change(
            self.batch, (before,), status=after, counts=self.counts, **changes
        )
        if changed and self.batch.ended:
            self._counts.ended[after] += 1
        return changed

    async def _end_unasked(self) -> None:
        """End a batch that was cancelled before its lines were looked at."""
        await self._change("cancelling", "cancelled", cancelled_at=self._now)
        await self._store.files.run(self._folder.discard, self.batch.id)

    def _check(self, model_of: Callable[[str | None], str], answered: frozenset[str] = frozenset()) -> BatchInput:
        # A batch that was taken is not refused because fewer lines may be by now.
        most = max(self._store.settings.max_lines, self.counts.total)
        check = InputCheck(self.batch.endpoint, most, model_of)
        return check.read(self._folder.input_of(self.batch.id), answered)

    def _open(self, model_of: Callable[[str | None], str]) -> None:
        """Open the results, and find what is left to ask."""
        batch_id = self.batch.id
        self._close()
        self._output = ResultFile(self._folder.output_of(batch_id))
        self._errors = ResultFile(self._folder.errors_of(batch_id))
        found = self._check(model_of, self._output.ids | self._errors.ids)
        self._lines = LinesLeft(self._folder.input_of(batch_id), found)
        self.counts = RequestCounts(self.counts.total, len(self._output.ids), len(self._errors.ids))
        self._uncounted = self.counts != self.batch.counts

    def _close(self) -> None:
        try:
            self._write_rest()
        finally:
            for each in (self._output, self._errors, self._lines):
                if each is not None:
                    each.close()
            self._output = self._errors = self._lines = None

    def _expire_rest(self) -> None:
        """Write a result for each line that was not answered in time."""
        while rest := self.lines.read_rest(_AT_ONCE):
            results = [Result(new_id("batch_req_"), line.custom_id, None, _EXPIRED) for line in rest]
            self.lines.drop_rest()
            self._counts.lines["expired"] += len(results)
            self._unwritten[False] += [result.encoded() for result in results]
            self._write_rest()

    def _write_rest(self) -> None:
        """Append what was answered to the results. Raises ``OSError``, and loses nothing then."""
        for completed, file in ((True, self._output), (False, self._errors)):
            lines = list(self._unwritten[completed])
            if not lines or file is None:
                continue
            file.append(b"".join(lines))
            del self._unwritten[completed][: len(lines)]
            self._uncounted = True
            counts = self.counts
            if completed:
                self.counts = structs.replace(counts, completed=counts.completed + len(lines))
            else:
                self.counts = structs.replace(counts, failed=counts.failed + len(lines))

    def _look_whether_over(self) -> None:
        if self.counts.completed + self.counts.failed >= self.counts.total:
            self.over.set()

    async def _write_for_ever(self) -> None:
        """Write results as they come, and count them now and then."""
        loop = asyncio.get_running_loop()
        due = loop.time() + CHECKPOINT_SECONDS
        while True:
            try:
                async with asyncio.timeout_at(due if self._uncounted else None):
                    await self._written.wait()
            except TimeoutError:
                pass
            self._written.clear()
            try:
                await self._store.files.run(self._write_rest)
                if loop.time() >= due:
                    due = loop.time() + CHECKPOINT_SECONDS
                    await self._checkpoint()
                self._stuck = False
            except StorageFailed:
                # Nothing more is asked whose answer could not be kept.
                self._stuck = True
                await asyncio.sleep(STORAGE_SECONDS)
                self._written.set()
            self._look_whether_over()

    async def _stop_writing(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await cancelled([writing])

    async def _checkpoint(self) -> None:
        """Have the results on the disk, and then count them in the record."""
        counts = self.counts
        await self._store.files.run(self._sync)
        self.batch, _ = await self._store.change(self.batch, _ASKED, counts=counts)
        self._uncounted = self.counts != counts

    def _sync(self) -> None:
        for file in (self._output, self._errors):
            if file is not None:
                file.sync()

    async def _publish(self, results: ResultFile, file_id: str | None, kind: str) -> None:
        """Make a file of results, if there are any."""
        if file_id is None:
            return
        batch, now = self.batch, self._now
        expires_at = None if batch.keep_seconds is None else now + batch.keep_seconds
        name = f"{batch.id}_{kind}.jsonl"
        file = FileRecord(file_id, batch.owner, results.size, now, expires_at, name, "batch_output")
        await self._store.files.adopt(results.path, file)
