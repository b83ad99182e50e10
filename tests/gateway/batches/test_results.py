"""Results are appended whole or not at all, and what a crash has cut is removed."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path

import pytest
from msgspec import Raw

from gateway.batches.results import LineResponse, Result, ResultError, ResultFile, body_of

ANSWER = Result("batch_req_1", "a", LineResponse(200, "batch_req_1", Raw(b'{"x":1}')))
MISTAKE = Result("batch_req_2", "b", None, ResultError("batch_expired", "Too late."))


def test_lines_are_as_openai_writes_them() -> None:
    assert json.loads(ANSWER.encoded()) == {
        "id": "batch_req_1",
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": "batch_req_1", "body": {"x": 1}},
        "error": None,
    }
    assert json.loads(MISTAKE.encoded())["error"] == {"code": "batch_expired", "message": "Too late."}
    assert json.loads(MISTAKE.encoded())["response"] is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'{\n "a": [1,\n 2]\n}\n', {"a": [1, 2]}),
        (b"no json", "no json"),
        (b"", ""),
        (b'{"a":"\xff"}', '{"a":"\ufffd"}'),
    ],
)
def test_a_body_becomes_one_line_of_json(content: bytes, expected: object) -> None:
    raw = bytes(body_of(content))
    assert b"\n" not in raw
    assert json.loads(raw) == expected


@pytest.mark.parametrize("cut", [b"", b'{"id":"batch_req_2","cust', b"\0\0\0\0", ANSWER.encoded()[:-1]])
def test_what_was_written_whole_is_found_again_and_the_rest_goes(tmp_path: Path, cut: bytes) -> None:
    path = tmp_path / "results"
    path.write_bytes(ANSWER.encoded() + MISTAKE.encoded() + cut)
    file = ResultFile(path)
    assert file.ids == {"a", "b"}
    file.append(ANSWER.encoded())
    file.sync()
    file.close()
    file.close()
    assert path.read_bytes() == ANSWER.encoded() + MISTAKE.encoded() + ANSWER.encoded()


def test_two_cannot_have_it_open(tmp_path: Path) -> None:
    file = ResultFile(tmp_path / "results")
    with pytest.raises(BlockingIOError):
        ResultFile(tmp_path / "results")
    file.close()
    ResultFile(tmp_path / "results").close()


def test_a_disk_that_is_full_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "results"
    file = ResultFile(path)
    file.append(ANSWER.encoded())
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            file.append(MISTAKE.encoded())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == ANSWER.encoded()
    file.append(MISTAKE.encoded())
    file.close()
    assert path.read_bytes() == ANSWER.encoded() + MISTAKE.encoded()
