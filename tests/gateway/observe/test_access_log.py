"""The access log has one JSON line for each request, and no trouble with it reaches a request."""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import BadRequest
from gateway.core.keys import Key
from gateway.observe import access_log
from gateway.observe.access_log import AccessLog


def request(request_id: str = "r") -> RequestContext:
    context = RequestContext(RequestHead("10.0.0.1"))
    context.head.method, context.head.path, context.request_id = b"POST", b"/v1/x", request_id
    context.status = 200
    return context


def end(log: AccessLog, context: RequestContext) -> None:
    """End a request a quarter of a second after it came."""
    log.ended(context, context.received_at + 0.25)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def logged(path: Path, *contexts: RequestContext) -> list[dict[str, Any]]:
    log = AccessLog.open(str(path))
    assert log is not None
    for context in contexts:
        end(log, context)
    log.close()
    return lines(path)


def write(log: AccessLog) -> None:
    """Write in this thread what is pending, as the log's own thread would."""
    log._batches.append(log._lines)
    log._lines = []
    log._write()


class Disk(io.RawIOBase):
    """A target that writes a few bytes at a time, and fails when it is full."""

    def __init__(self, room: int = 10_000) -> None:
        self.data = b""
        self.room = room

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        piece = bytes(data[: min(7, self.room)])
        self.room -= len(piece)
        self.data += piece
        return len(piece)


def test_what_did_not_happen_is_left_out(tmp_path: Path) -> None:
    (line,) = logged(tmp_path / "log", request())
    assert line.pop("time").endswith("Z")
    assert line.pop("duration_ms") == pytest.approx(250, abs=0.01)
    asked = {"request_id": "r", "client": "10.0.0.1", "method": "POST", "path": "/v1/x", "status": 200}
    assert line == asked | {"model": "unknown", "endpoint": "unknown"}


def test_all_that_happened_is_told_in_milliseconds(tmp_path: Path) -> None:
    context = request()
    context.model, context.head.endpoint, context.replica, context.retries = "m", "/v1/x", "m-0", 1
    context.head.key, context.streamed = Key("alice", frozenset()), True
    context.queued_for, context.overhead = 0.5, 0.125
    context.first_token_at = context.received_at + 0.75
    context.input_tokens, context.output_tokens, context.cached_tokens = 3, 4, 2
    (line,) = logged(tmp_path / "log", context)
    told = {"model": "m", "endpoint": "/v1/x", "replica": "m-0", "attempts": 2, "key": "alice", "stream": True}
    assert line.items() >= (told | {"input_tokens": 3, "output_tokens": 4, "cached_tokens": 2}).items()
    times = [line["queue_ms"], line["overhead_ms"], line["ttft_ms"]]
    assert times == pytest.approx([500, 125, 750], abs=0.01)


def test_a_line_names_the_trace_of_its_request(tmp_path: Path) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    trace = f"traceparent: 00-{trace_id}-00f067aa0ba902b7-01\r\n".encode()
    asked, refused = request(), request()
    asked.trace = trace
    refused.head.trace = trace
    assert [line["trace_id"] for line in logged(tmp_path / "log", asked, refused)] == [trace_id, trace_id]


def test_what_a_head_says_may_be_encoded_before(tmp_path: Path) -> None:
    log = AccessLog.open(str(tmp_path / "log"))
    assert log is not None
    context = request()
    context.head.logged = log.of_head(context.head)
    end(log, request())
    end(log, context)
    log.close()
    once, again = lines(tmp_path / "log")
    assert list(once) == [
        "time",
        "request_id",
        "status",
        "duration_ms",
        "model",
        "client",
        "method",
        "path",
        "endpoint",
    ]
    assert once | {"time": ""} == again | {"time": ""}


def test_an_error_is_told_with_code_and_message(tmp_path: Path) -> None:
    context = request()
    context.status, context.error = 400, BadRequest("No.", code="bad")
    (line,) = logged(tmp_path / "log", context)
    assert (line["status"], line["code"], line["message"]) == (400, "bad", "No.")


def test_a_path_cannot_forge_a_line(tmp_path: Path) -> None:
    context = request()
    context.head.path = b'/\n{"status":1}\xff"'
    (line,) = logged(tmp_path / "log", context)
    assert line["path"] == '/\n{"status":1}ÿ"'


def test_a_file_is_continued(tmp_path: Path) -> None:
    logged(tmp_path / "log", request("a"))
    assert [line["request_id"] for line in logged(tmp_path / "log", request("b"), request("c"))] == ["a", "b", "c"]


@pytest.mark.parametrize("renamed", [True, False], ids=["renamed", "removed"])
def test_a_log_that_is_rotated_goes_on_in_a_new_file(renamed: bool, tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    log = AccessLog.open(str(path))
    assert log is not None
    end(log, request("before"))
    write(log)
    os.link(path, old)
    path.rename(tmp_path / "elsewhere") if renamed else path.unlink()
    for request_id in ("after", "last"):
        end(log, request(request_id))
        write(log)
    log.close()
    assert [line["request_id"] for line in lines(old)] == ["before"]
    assert [line["request_id"] for line in lines(path)] == ["after", "last"]


def test_a_log_that_cannot_be_made_anew_goes_on_in_the_old_file(tmp_path: Path) -> None:
    folder, moved = tmp_path / "logs", tmp_path / "moved"
    folder.mkdir()
    log = AccessLog.open(str(folder / "log"))
    assert log is not None
    folder.rename(moved)
    end(log, request())
    log.close()
    assert [line["request_id"] for line in lines(moved / "log")] == ["r"]


def test_off_is_no_log() -> None:
    assert AccessLog.open("off") is None


def test_stdout_stays_open(capfd: pytest.CaptureFixture[str]) -> None:
    log = AccessLog.open("stdout")
    assert log is not None
    end(log, request())
    log.close()
    os.write(1, b"still open\n")
    first, second = capfd.readouterr().out.splitlines()
    assert json.loads(first)["request_id"] == "r"
    assert second == "still open"


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        AccessLog.open(str(tmp_path))


def test_a_line_is_written_whole_however_little_the_disk_takes_at_once() -> None:
    disk = Disk()
    log = AccessLog(disk)  # type: ignore[arg-type]
    end(log, request())
    log.close()
    assert json.loads(disk.data)["request_id"] == "r"


def test_lines_that_found_no_room_are_counted_once_there_is_some() -> None:
    disk = Disk(room=0)
    log = AccessLog(disk)  # type: ignore[arg-type]
    for _ in range(2):
        end(log, request())
        write(log)
    disk.room = 10_000
    end(log, request("later"))
    log.close()
    later, dropped = map(json.loads, disk.data.splitlines())
    assert later["request_id"] == "later"
    assert dropped == {"dropped_lines": 2}


def test_a_line_that_was_cut_short_spoils_no_other() -> None:
    disk = Disk(room=300)
    log = AccessLog(disk)  # type: ignore[arg-type]
    for request_id in ("whole", "cut", "lost"):
        end(log, request(request_id))
    write(log)
    disk.room = 10_000
    end(log, request("later"))
    log.close()
    whole, cut, later, dropped = disk.data.splitlines()
    assert [json.loads(line)["request_id"] for line in (whole, later)] == ["whole", "later"]
    assert b'"request_id":"cut"' in cut
    assert json.loads(dropped) == {"dropped_lines": 2}


def test_a_full_disk_ends_nothing() -> None:
    log = AccessLog.open("/dev/full")
    assert log is not None
    for _ in range(3):
        end(log, request())
        write(log)
    assert log._thread.is_alive()
    assert repr(log) == "<AccessLog [0 lines pending]>"
    log.close()


def test_a_pipe_that_nobody_reads_does_not_keep_the_gateway_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "_CLOSE_SECONDS", 0.05)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    log = AccessLog(os.fdopen(writing, "wb", buffering=0))
    end(log, request())
    log.close()
    assert log._thread.is_alive()
    os.close(reading)  # The write fails now, and the thread can end.
    log._thread.join(10)
    assert not log._thread.is_alive()
    log.close()


def test_a_log_that_falls_behind_drops_lines_and_says_how_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "_MAX_PENDING", 2)
    found = logged(tmp_path / "log", *(request(str(number)) for number in range(5)))
    assert [line.get("request_id") for line in found] == ["0", "1", None]
    assert found[-1] == {"dropped_lines": 3}


def test_many_lines_are_written_before_the_next_tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "_BATCH_LINES", 2)
    reading, writing = os.pipe()
    log = AccessLog(os.fdopen(writing, "wb", buffering=0))
    for number in range(3):
        end(log, request(str(number)))
    with os.fdopen(reading, "rb") as pipe:
        assert [json.loads(pipe.readline())["request_id"] for _ in range(2)] == ["0", "1"]
        assert repr(log) == "<AccessLog [1 lines pending]>"
        log.close()


def test_lines_are_written_under_the_lock_that_other_processes_share(tmp_path: Path) -> None:
    lock = threading.Lock()
    with lock:
        log = AccessLog.open(str(tmp_path / "log"), lock)
        assert log is not None
        end(log, request())
        log.flush()
        # Nothing can be written while another holds the lock.
        assert (tmp_path / "log").read_text() == ""
    log.close()
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_the_repr_tells_what_is_pending(tmp_path: Path) -> None:
    log = AccessLog.open(str(tmp_path / "log"))
    assert log is not None
    end(log, request())
    assert repr(log) == "<AccessLog [1 lines pending]>"
    log.close()
    assert repr(log) == "<AccessLog [0 lines pending]>"
