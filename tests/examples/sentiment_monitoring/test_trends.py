from __future__ import annotations

from math import isclose, sqrt
from random import Random

import pytest

from examples.sentiment_monitoring.trends import Change, Rule, Trend, Window, z_score


def test_a_window_counts_the_last_texts_and_gives_back_what_falls_out() -> None:
    window = Window(3)
    assert [window.add(negative) for negative in (True, False, True)] == [None, None, None]
    assert (len(window), window.negative, window.share) == (3, 2, 2 / 3)
    assert [window.add(negative) for negative in (True, True, False)] == [True, False, True]
    assert repr(window) == "<Window 2 of 3 negative>"
    assert Window(3).share == 0


def test_the_z_score_is_that_of_two_proportions() -> None:
    # 60 of 100 against 150 of 500: pooled 0.35.
    assert isclose(z_score(60, 100, 150, 500), 0.3 / sqrt(0.35 * 0.65 * (1 / 100 + 1 / 500)))
    assert z_score(30, 100, 150, 500) == 0
    assert z_score(10, 100, 150, 500) < 0


@pytest.mark.parametrize("negative", [0, 1])
def test_there_is_no_jump_where_all_texts_are_alike(negative: int) -> None:
    assert z_score(negative * 100, 100, negative * 500, 500) == 0


def stream(*parts: tuple[int, float]) -> list[bool]:
    """Write texts with evenly spread negative ones: so many, with this share."""
    return [int((number + 1) * share) > int(number * share) for texts, share in parts for number in range(texts)]


def changes(texts: list[bool]) -> list[tuple[int, Change]]:
    trend = Trend(Rule())
    return [(number, change) for number, text in enumerate(texts) if (change := trend.add(text)) is not None]


def test_a_steady_share_raises_nothing() -> None:
    assert changes(stream((3000, 0.3))) == []


def test_a_jump_is_raised_once_and_cleared_when_the_share_falls_back() -> None:
    (raised, first), (cleared, second) = changes(stream((1000, 0.3), (150, 0.7), (1000, 0.3)))
    assert (first, second) == (Change.RAISED, Change.CLEARED)
    assert 1000 < raised < 1080
    assert 1150 < cleared < 1250


def test_a_share_that_stays_high_becomes_the_usual_one() -> None:
    (_, first), (cleared, second) = changes(stream((1000, 0.3), (1000, 0.7)))
    assert (first, second) == (Change.RAISED, Change.CLEARED)
    assert cleared < 1000 + Rule().short + Rule().long


def test_a_fall_of_the_negative_share_raises_nothing() -> None:
    assert changes(stream((1000, 0.7), (1000, 0.2))) == []


def test_nothing_is_raised_before_there_is_enough_to_compare_with() -> None:
    rule = Rule()
    assert changes(stream((rule.least - 1, 0.0), (rule.short, 1.0))) == []
    assert changes(stream((rule.least, 0.0), (rule.short, 1.0))) != []


def test_chance_alone_seldom_raises_an_alert() -> None:
    draw = Random(7)
    texts = [draw.random() < 0.35 for _ in range(50_000)]
    assert sum(change is Change.RAISED for _, change in changes(texts)) <= 5


def test_a_trend_says_how_it_is() -> None:
    trend = Trend(Rule(short=2, long=4, least=2, raise_at=1.0))
    for negative in (False, False, True, True):
        trend.add(negative)
    assert repr(trend) == "<Trend 100% after 0%, z 2.0, alert True>"
