"""Targets take turns, and are related to the first one round by round."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest import compare
from loadtest.compare import Target

DIRECT, OTHER = Target("direct", "http://a:1"), Target("other", "http://b:1")


def found(ttft: float, failed: int = 0) -> dict[str, Any]:
    return {"median_ttft_ms": ttft, "request_throughput": 10.0, "request_goodput": None, "failed": failed}


ROUNDS = [
    {"direct": found(10.0), "other": found(11.0)},
    {"direct": found(20.0), "other": found(24.0)},
    {"direct": found(10.0), "other": found(13.0, failed=2)},
]


def test_a_target_is_a_name_and_an_address() -> None:
    assert Target.parse("direct=http://a:1") == DIRECT
    for wrong in ("http://a:1", "=http://a:1", "direct=a", "direct"):
        with pytest.raises(ValueError, match="is not a"):
            Target.parse(wrong)


def test_each_target_comes_first_in_its_turn() -> None:
    assert [compare.turns([DIRECT, OTHER], number)[0].name for number in range(3)] == ["direct", "other", "direct"]
    assert compare.turns([DIRECT, OTHER], 1) == [OTHER, DIRECT]


def test_ratios_are_those_of_the_rounds_not_of_the_medians() -> None:
    related = compare.compared(ROUNDS, [DIRECT, OTHER])
    assert related["direct"]["median_ttft_ms"] == {"median": 10.0, "ratio": 1.0, "lowest": 1.0, "highest": 1.0}
    assert related["other"]["median_ttft_ms"] == pytest.approx(
        {"median": 13.0, "ratio": 1.2, "lowest": 1.1, "highest": 1.3}
    )


def test_what_is_nothing_at_the_first_target_has_no_ratio() -> None:
    related = compare.compared(ROUNDS, [DIRECT, OTHER])
    assert related["other"]["failed"] == {"median": 0}
    assert "request_goodput" not in related["other"]


def test_the_table_has_a_column_for_each_target() -> None:
    text = compare.table(compare.compared(ROUNDS, [DIRECT, OTHER]), 3)
    assert text.splitlines()[0].split() == ["direct", "other"]
    assert text.splitlines()[1].split() == ["ttft", "p50", "ms", "10", "13", "x", "1.200", "(1.100-1.300)"]
    assert "medians of 3 rounds" in text
    assert "goodput" not in text
