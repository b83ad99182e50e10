"""Lines are asked in their order, but for those that come back, at once or later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.batches.input_check import InputCheck
from gateway.batches.lines_left import LinesLeft
from tests.gateway.batches.made import CHAT, jsonl, line


@pytest.fixture
def left(tmp_path: Path) -> Iterator[LinesLeft]:
    path = tmp_path / "input"
    path.write_bytes(jsonl([line(each) for each in "abcd"]))
    opened = LinesLeft(path, InputCheck(CHAT, 9, lambda name: name or "").read(path))
    yield opened
    opened.close()


def rest(left: LinesLeft, now: float = 0.0) -> list[str]:
    found = []
    while left.ready(now):
        found.append(left.read(left.take()).custom_id)
    return found


def test_lines_are_taken_in_their_order(left: LinesLeft) -> None:
    assert rest(left) == ["a", "b", "c", "d"]
    assert not left.ready(1e9)
    assert left.in_flight == 4
    left.answered()
    assert left.in_flight == 3


def test_a_line_that_is_put_back_comes_next(left: LinesLeft) -> None:
    assert left.ready(0.0)
    left.put_back(left.take())
    assert left.in_flight == 0
    assert rest(left) == ["a", "b", "c", "d"]


def test_a_line_that_is_put_off_comes_when_its_pause_is_over(left: LinesLeft) -> None:
    assert left.ready(0.0)
    first = left.take()
    left.put_off(first, 10.0)
    assert rest(left, now=9.0) == ["b", "c", "d"]
    assert left.ready(10.0)
    assert left.take() == first._replace(failures=1)


def test_what_is_left_is_read_part_by_part(left: LinesLeft) -> None:
    assert left.ready(0.0)
    left.put_off(left.take(), 10.0)
    parts = []
    while part := left.read_rest(2):
        assert left.read_rest(2) == part
        parts.append([each.custom_id for each in part])
        left.drop_rest()
    assert parts == [["a", "b"], ["c", "d"]]
