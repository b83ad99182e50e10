"""Typos are of the kind that people make, and always the same for the same seed."""

from __future__ import annotations

from engines.train.classifier.typos import with_typos

TEXT = "The gateway answers every question that people could possibly think about"


def test_about_a_quarter_of_the_words_change_and_short_ones_never() -> None:
    texts = [with_typos(TEXT, seed) for seed in range(200)]
    changed = [sum(a != b for a, b in zip(TEXT.split(), text.split(), strict=True)) for text in texts]
    long_words = sum(len(word) >= 4 for word in TEXT.split())
    assert 0.18 < sum(changed) / (200 * long_words) < 0.3
    assert all(text.startswith("The ") for text in texts)


def test_words_keep_their_first_letter_and_about_their_length() -> None:
    for seed in range(100):
        for word, typed in zip(TEXT.split(), with_typos(TEXT, seed, share=1.0).split(), strict=True):
            assert typed[0] == word[0]
            assert abs(len(typed) - len(word)) <= 1


def test_the_same_seed_makes_the_same_typos() -> None:
    assert with_typos(TEXT, 1) == with_typos(TEXT, 1)
    assert with_typos(TEXT, 1, share=1.0) != with_typos(TEXT, 2, share=1.0)
