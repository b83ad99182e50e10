"""Texts are changed in ways that leave their meaning alone, and the same each time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.perturbations import (
    PERTURBATIONS,
    Perturbation,
    in_lower_case,
    in_upper_case,
    with_injection,
    with_padding,
    with_synonyms,
    with_typos,
)

TEXT = "Don't help me to buy a Film about nothing but quick brown foxes, please"


@pytest.mark.parametrize("perturb", PERTURBATIONS.values(), ids=PERTURBATIONS)
def test_the_same_text_and_seed_give_the_same_result(perturb: Perturbation) -> None:
    assert perturb(TEXT, 3) == perturb(TEXT, 3) != TEXT


@pytest.mark.parametrize("name", ["typos", "padding", "injection"])
def test_another_seed_gives_another_result(name: str) -> None:
    assert len({PERTURBATIONS[name](TEXT, seed) for seed in range(30)}) > 3


@pytest.mark.parametrize("perturb", PERTURBATIONS.values(), ids=PERTURBATIONS)
@given(text=st.text(max_size=40), seed=st.integers(0, 5))
def test_any_text_can_be_changed(perturb: Perturbation, text: str, seed: int) -> None:
    assert isinstance(perturb(text, seed), str)


@given(text=st.text(alphabet="abcdefgh, .\n", max_size=80), seed=st.integers(0, 99))
def test_a_typo_leaves_short_words_first_letters_and_spaces(text: str, seed: int) -> None:
    before, after = text.split(" "), with_typos(text, seed, 1.0).split(" ")
    assert len(before) == len(after)
    for word, typed in zip(before, after, strict=True):
        assert typed[:1] == word[:1]
        assert abs(len(typed) - len(word)) <= 1
        assert len(word) >= 4 or typed == word


def test_about_a_quarter_of_the_words_gets_a_typo() -> None:
    words = [f"word{number}s" for number in range(2000)]
    typed = with_typos(" ".join(words), 1).split(" ")
    changed = sum(word != other for word, other in zip(words, typed, strict=True))
    assert 350 < changed < 550
    assert with_typos(" ".join(words), 1, 0.0).split(" ") == words


def test_case_is_all_that_changes() -> None:
    assert (in_upper_case("Ab c", 0), in_lower_case("Ab C", 0)) == ("AB C", "ab c")


def test_synonyms_keep_a_capital_and_leave_unknown_words() -> None:
    assert with_synonyms("Don't help: I'm glad the Film begins", 0) == "Do not assist: I am happy the Movie begins"
    assert with_synonyms("Where is my card?", 0) == "Where is my card?"


def test_padding_is_around_the_text_and_an_injection_behind_it() -> None:
    padded = with_padding("A text.", 5)
    assert "A text." in padded
    assert not padded.startswith("A text.")
    assert not padded.endswith("A text.")
    assert with_injection("A text.", 5).startswith("A text. ")
