"""Recommendations: by likeness, by what was chosen together, diverse, new to the person, and explained."""

from __future__ import annotations

import numpy as np
import pytest

from examples.recommendation.catalogue import Choice, Item
from examples.recommendation.recommender import Recommender

TEXTS = ["lost card", "stolen card", "my card is lost", "rain today", "weather tomorrow", "play a song"]
ITEMS = [Item(f"q{number}", text) for number, text in enumerate(TEXTS)]
CARD, WEATHER, SONG = np.eye(3, 4)[0], np.eye(3, 4)[1], np.eye(3, 4)[2]


def near(direction: np.ndarray, off: float) -> np.ndarray:
    vector = direction + off * np.array([0, 0, 0, 1.0])
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


VECTORS = np.stack(
    [near(CARD, 0), near(CARD, 0.5), near(CARD, 0.1), near(WEATHER, 0), near(WEATHER, 0.4), near(SONG, 0)]
)


def recommended(recommender: Recommender, person: str, count: int = 10, diversity: float = 0.0) -> list[str]:
    return [TEXTS[each.item] for each in recommender.recommend(person, count, diversity)]


def test_what_is_like_the_history_comes_first_and_nothing_of_it_again() -> None:
    recommender = Recommender(ITEMS, VECTORS, [Choice("ada", 0, 1.0)])
    found = recommended(recommender, "ada")
    assert found[:2] == ["my card is lost", "stolen card"]
    assert sorted([*found, "lost card"]) == sorted(TEXTS)


def test_the_sentence_names_the_choice_that_is_most_alike() -> None:
    recommender = Recommender(ITEMS, VECTORS, [Choice("ada", 0, 1.0), Choice("ada", 3, 2.0), Choice("bob", 4, 1.0)])
    why = {TEXTS[each.item]: each.why for each in recommender.recommend("ada")}
    assert why["my card is lost"] == "Because you chose “lost card” (similarity 1.00); nobody has chosen it yet."
    assert why["weather tomorrow"] == "Because you chose “rain today” (similarity 0.93); one person has chosen it."


def test_what_others_chose_together_rises() -> None:
    alone = Recommender(ITEMS, VECTORS, [Choice("ada", 5, 1.0)])
    together = Recommender(
        ITEMS, VECTORS, [Choice("ada", 5, 1.0), Choice("bob", 5, 1.0), Choice("bob", 4, 2.0), Choice("eve", 0, 1.0)]
    )
    assert recommended(alone, "ada").index("weather tomorrow") > 0
    assert recommended(together, "ada")[0] == "weather tomorrow"


def test_diversity_puts_another_subject_before_a_third_text_of_the_same() -> None:
    recommender = Recommender(ITEMS, VECTORS, [Choice("ada", 0, 1.0), Choice("ada", 3, 2.0), Choice("ada", 5, 3.0)])
    close, diverse = recommended(recommender, "ada", 2), recommended(recommender, "ada", 2, 0.9)
    assert set(close) == {"my card is lost", "weather tomorrow"}
    assert recommended(recommender, "ada", 1) == recommended(recommender, "ada", 1, 0.9)
    assert len({text.split()[-1] for text in diverse}) == 2


def test_somebody_unknown_gets_what_is_popular() -> None:
    choices = [Choice("ada", 3, 1.0), Choice("bob", 3, 1.0), Choice("bob", 5, 2.0)]
    found = Recommender(ITEMS, VECTORS, choices).recommend("nobody", 2)
    assert [(TEXTS[each.item], each.why) for each in found] == [
        ("rain today", "It is popular: 2 people have chosen it."),
        ("play a song", "It is popular: one person has chosen it."),
    ]


def test_without_any_choices_at_all_there_still_is_an_answer() -> None:
    assert recommended(Recommender(ITEMS, VECTORS, []), "nobody", 2) == ["lost card", "stolen card"]


@pytest.mark.parametrize("count", [1, 3])
def test_who_has_chosen_everything_gets_nothing(count: int) -> None:
    choices = [Choice("ada", number, float(number)) for number in range(count)]
    assert Recommender(ITEMS[:count], VECTORS[:count], choices).recommend("ada") == []
