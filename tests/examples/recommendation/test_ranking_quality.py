"""Hit rate and NDCG by hand, and the comparison of methods."""

from __future__ import annotations

import math

import numpy as np
import pytest

from examples.recommendation.catalogue import Choice, Item
from examples.recommendation.ranking_quality import OURS, Quality, chart, compare, hit, mean, ndcg, table
from examples.recommendation.recommender import Recommender

CARDS = [Item(f"card-{number}", f"card {number}", "cards", "bank") for number in range(12)]
SONGS = [Item(f"song-{number}", f"song {number}", "songs", "home") for number in range(12)]
ITEMS = [*CARDS, *SONGS]
VECTORS = np.repeat(np.eye(2, dtype=np.float32), 12, axis=0)


def test_a_hit_is_anything_that_is_wanted() -> None:
    assert hit([3, 1], {1, 7})
    assert not hit([3, 1], {7})


def test_gain_is_discounted_by_the_place() -> None:
    assert ndcg([5, 6], {5, 6}) == pytest.approx(1.0)
    assert ndcg([0, 5], {5}) == pytest.approx(1 / math.log2(3))
    assert ndcg([0, 1], {5}) == 0.0
    assert ndcg(list(range(10)), set(range(20))) == pytest.approx(1.0)


def test_likeness_finds_what_popularity_cannot() -> None:
    """Everybody likes songs but ada, who likes cards."""
    past = [Choice("ada", 0, 1.0), *(Choice(f"fan-{fan}", 12 + song, 1.0) for fan in range(3) for song in range(12))]
    found = compare(ITEMS, Recommender(ITEMS, VECTORS, past), [Choice("ada", 1, 90.0), Choice("ada", 2, 91.0)], 1)
    assert found["popular"].hit_rate == 0.0
    assert found["popular"].intents == 1.0
    assert found["popular in intents"].hit_rate == 1.0
    assert found[OURS].hit_rate == 1.0


def test_the_mean_its_table_and_its_chart() -> None:
    means = {OURS: mean([Quality(0.5, 0.1, 3.0), Quality(0.7, 0.3, 5.0)])}
    assert table(means).splitlines()[-1] == "| recommended | 60.0 % | 20.0 % | 4.0 |"
    assert "hit rate@10" in chart(means).file()
