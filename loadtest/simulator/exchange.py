"""One request's life: it arrives, waits and runs in the batch, and its response is written, as well as faults allow."""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from typing import Protocol

from loadtest.simulator.batch import Work
from loadtest.simulator.connection import Connection, ReceivedRequest
from loadtest.simulator.engine_response import EngineResponse, UnaryResponse
from loadtest.simulator.errors import EngineError, phrase
from loadtest.simulator.faults import Cut, Faults
from loadtest.simulator.sleep_mode import SequenceQueue

_GARBAGE = b"\x16\x03\x01 this is not HTTP \x00\xff\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_WRITE_BYTES = 64 * 1024
"""Events are gathered into writes of about this size."""


class Outcome(enum.Enum):
    """How an exchange ended."""

    SERVED = "served"
    ABORTED = "aborted"
    FAULTED = "faulted"


class ExchangeOwner(Protocol):
    """What an exchange needs of the engine that it belongs to."""

    @property
    def queue(self) -> SequenceQueue:
        """What says when tokens are ready."""

    def ended(self, request: ReceivedRequest, outcome: Outcome) -> None:
        """Count the end of an exchange."""

    def wrote_events(self, count: int) -> None:
        """Count events."""

    def crash(self) -> None:
        """Die."""


class Exchange:
    """A request, its response, and how far it has come; a sequence of the batch at the same time."""

    def __init__(
        self,
        owner: ExchangeOwner,
        connection: Connection,
        request: ReceivedRequest,
        answer: EngineResponse,
        faults: Faults,
    ) -> None:
        self.work = answer.work or Work(0, 1)
        self.stepwise = not isinstance(answer, UnaryResponse)
        self._owner = owner
        self._connection = connection
        self._request = request
        self._answer = answer
        self._faults = faults
        self._delay: asyncio.TimerHandle | None = None
        self._over = False
        """Whether nothing more will be written; what was may still be on its way."""
        self._left = False
        """Whether everything is given back and the outcome counted."""
        self._events: deque[bytes] = deque()
        self._written = 0
        self._counted = 0
        self._stepped = 0
        self._ready = 0
        limits = (faults.crash_after, faults.hang_after, faults.cut_after, faults.error_after)
        self._stop_after = min((each for each in limits if each is not None), default=None)

    def __repr__(self) -> str:
        return f"<Exchange {self._request.method} {self._request.path} [{self._written} events written]>"

    # what the connection calls

    def begin(self) -> None:
        """Suffer what comes before the response, then wait for a place in the batch."""
        self._connection.segment_bytes = self._faults.segment_bytes
        if self._faults.delay > 0:
            self._delay = asyncio.get_running_loop().call_later(self._faults.delay, self._arrive)
        else:
            self._arrive()

    def client_left(self) -> None:
        """Stop all work for a client that is gone."""
        self._leave(Outcome.ABORTED)

    def crashed(self) -> None:
        """Stop because the engine dies."""
        self._leave(Outcome.FAULTED)

    def resume(self) -> None:
        """Write on after the client has read."""
        if self.stepwise:
            self._flush()

    # what the batch calls

    def produced(self, tokens: int) -> None:
        """Write what these tokens make possible."""
        self._ready = tokens
        if isinstance(self._answer, UnaryResponse):
            self._write_unary(self._answer)
        else:
            self._flush()

    # inside

    def _arrive(self) -> None:
        faults = self._faults
        answer = self._answer
        if faults.silent:
            return
        if faults.garbage:
            self._connection.write(_GARBAGE)
            self._break_off()
        elif faults.status:
            self._write_unary(self._error())
        elif faults.crash_after is not None and (faults.crash_after == 0 or isinstance(answer, UnaryResponse)):
            self._owner.crash()
        elif not isinstance(answer, UnaryResponse):
            self._connection.write(self._head(200, b"text/event-stream; charset=utf-8", None))
            self._events.extend(answer.opening)
            self._owner.queue.add(self)
            self._flush()
        elif answer.work is None:
            self._write_unary(answer)
        else:
            self._owner.queue.add(self)

    def _error(self) -> UnaryResponse:
        faults = self._faults
        if faults.error_body is not None:
            return UnaryResponse(
                faults.error_body.encode(), status=faults.status, content_type=b"text/plain; charset=utf-8"
            )
        error = EngineError.of_status(faults.status)
        of_messages = self._request.path.startswith("/v1/messages")
        return UnaryResponse(error.encode_for_messages() if of_messages else error.encode(), status=faults.status)

    def _head(self, status: int, content_type: bytes, length: int | None) -> bytes:
        """Return a head; without a length the body is chunked."""
        lines = [
            b"HTTP/1.1 %d %s" % (status, phrase(status).encode()),
            b"server: simulated",
            b"content-type: %s" % content_type,
        ]
        if length is not None or self._faults.both_lengths:
            lines.append(b"content-length: %d" % (length or 0))
        if length is None or self._faults.both_lengths:
            lines.append(b"transfer-encoding: chunked")
        if self._faults.header_bytes:
            lines.append(b"x-padding: " + b"x" * self._faults.header_bytes)
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _write_unary(self, answer: UnaryResponse) -> None:
        faults, body = self._faults, answer.body if answer.written is None else answer.written()
        head = self._head(answer.status, answer.content_type, len(body) + faults.length_error)
        if self._request.method == "HEAD":
            body = b""
        if faults.cut_body_after is not None:
            self._connection.write(head + body[: faults.cut_body_after])
            self._break_off()
            return
        self._connection.write(head + (_chunk(body) + _LAST_CHUNK if faults.both_lengths else body))
        if faults.length_error > 0:
            self._break_off()
        else:
            self._end()

    def _flush(self) -> None:
        """Write the events of all tokens that are ready, until the socket is full or a fault stops it."""
        gathered = bytearray()
        while not self._over and not self._connection.blocked:
            if self._written == self._stop_after:
                self._send(gathered)
                self._stop()
                return
            event = self._next_event()
            if event is None:
                break
            self._written += 1
            gathered += _chunk(self._dressed(event))
            if len(gathered) >= _WRITE_BYTES:
                self._send(gathered)
                gathered = bytearray()
        self._send(gathered)
        if not self._over and self._all_written():
            self._end_stream()

    def _next_event(self) -> bytes | None:
        if not self._events and self._stepped < self._ready and not isinstance(self._answer, UnaryResponse):
            self._events.extend(self._answer.step(self._stepped))
            self._stepped += 1
        return self._events.popleft() if self._events else None

    def _send(self, chunks: bytearray) -> None:
        if chunks:
            self._connection.write(bytes(chunks))
            self._owner.wrote_events(self._written - self._counted)
            self._counted = self._written

    def _dressed(self, event: bytes) -> bytes:
        """Return an event with the comments and line ends that the faults ask for."""
        if self._faults.comments:
            event = b": simulated\n\n" + event
        return event.replace(b"\n", b"\r\n") if self._faults.crlf else event

    def _stop(self) -> None:
        """Do what a fault does after so many events."""
        faults, at = self._faults, self._written
        if faults.crash_after == at:
            self._owner.crash()
        elif faults.cut_after == at:
            self._cut(faults.cut)
        elif faults.error_after == at and not isinstance(self._answer, UnaryResponse):
            error = EngineError.of_status(500).encode()
            for event in self._answer.failure(error):
                self._connection.write(_chunk(self._dressed(event)))
            self._end_stream()

    def _cut(self, cut: Cut) -> None:
        if cut is Cut.MID_EVENT:
            event = self._next_event()
            if event is None:
                # The token that brings it is not ready yet, or there is none: then nothing is left to cut.
                if self._all_written():
                    self._end_stream()
                return
            self._connection.write(_chunk(self._dressed(event))[: len(event) // 2])
        elif cut is Cut.END:
            self._connection.write(_LAST_CHUNK)
            self._over = True
            self._connection.when_written(lambda: self._finish(Outcome.FAULTED))
            return
        self._break_off(reset=cut is Cut.RESET)

    def _all_written(self) -> bool:
        return self._stepped == self.work.output_tokens and not self._events

    def _end_stream(self) -> None:
        self._connection.write(_LAST_CHUNK)
        self._end()

    def _end(self) -> None:
        self._over = True
        self._connection.when_written(lambda: self._finish(Outcome.SERVED))

    def _finish(self, outcome: Outcome) -> None:
        self._leave(outcome)
        if self._faults.close_after_answer:
            self._connection.close()
        self._connection.finished()

    def _break_off(self, *, reset: bool = False) -> None:
        """Close or reset the connection in the middle of the response."""
        self._over = True
        self._connection.when_written(self._reset if reset else self._close)

    def _reset(self) -> None:
        self._connection.abandon()
        self._leave(Outcome.FAULTED)
        self._connection.reset()

    def _close(self) -> None:
        self._connection.abandon()
        self._leave(Outcome.FAULTED)
        self._connection.close()

    def _leave(self, outcome: Outcome) -> None:
        """Give everything back, and say how it ended. Every way out comes through here; the first one counts."""
        if self._left:
            return
        self._over = self._left = True
        if self._delay is not None:
            self._delay.cancel()
        self._owner.queue.remove(self)
        self._owner.ended(self._request, outcome)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
