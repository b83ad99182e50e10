"""What takes long tells how far it is."""

from __future__ import annotations

import pytest

from examples.progress import with_progress


def test_every_two_seconds_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    moments = iter([0.0, 0.0, 1.0, 2.0, 3.0])
    assert list(with_progress("abcd", "spelling", lambda: next(moments))) == ["a", "b", "c", "d"]
    assert capsys.readouterr().err == "  spelling: 50%, 2 s left\n"


def test_what_is_done_at_once_tells_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(with_progress([1, 2], "counting")) == [1, 2]
    assert list(with_progress([], "counting nothing")) == []
    assert capsys.readouterr().err == ""
