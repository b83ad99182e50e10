"""Examples are trained once, a share of each class is held back, and what was changed is told."""

from __future__ import annotations

from collections import Counter

import pytest

from engines.train.classifier.prepare import prepare, split
from engines.train.examples import Example, TextData


def examples(**sizes: int) -> list[Example]:
    return [Example(f"{label} {n}", (label,)) for label, size in sizes.items() for n in range(size)]


def data(training: list[Example], validation: list[Example] | None = None, *, multi_label: bool = False) -> TextData:
    labels = sorted({label for example in training for label in example.labels})
    return TextData(training, validation or [], labels, multi_label)


def test_a_tenth_of_each_class_is_held_back() -> None:
    prepared = prepare(data(examples(a=100, b=50, c=2)), seed=1)
    assert Counter(example.labels[0] for example in prepared.validation) == {"a": 10, "b": 5, "c": 1}
    assert {example.labels[0] for example in prepared.training} == {"a", "b", "c"}
    assert not set(prepared.training) & set(prepared.validation)
    assert "16 examples are held back to validate with." in prepared.notes


def test_the_seed_decides_what_is_held_back() -> None:
    given = examples(a=100, b=100)
    assert split(given, 1) == split(given, 1)
    assert split(given, 1) != split(given, 2)


def test_of_very_many_no_more_than_two_thousand_are_held_back() -> None:
    assert len(split(examples(a=50_000, b=50_000), 1)[1]) == 2000


def test_combinations_of_labels_that_come_once_are_held_back_too() -> None:
    given = [Example(str(n), tuple(f"label {m}" for m in range(10) if n >> m & 1)) for n in range(64)]
    training, validation = split(given, 1)
    assert (len(training), len(validation)) == (58, 6)


def test_repeated_texts_are_trained_once_with_the_most_frequent_label() -> None:
    given = [*examples(a=20, b=20), Example("a 0", ("a",)), Example("a 0", ("b",))]
    prepared = prepare(data(given), seed=1)
    assert len(prepared.training) + len(prepared.validation) == 40
    assert Example("a 0", ("a",)) in [*prepared.training, *prepared.validation]
    assert prepared.notes[:2] == [
        "2 examples have a text that came before; each text is trained once.",
        "1 texts have different labels in different lines; the most frequent is taken.",
    ]


def test_a_validation_file_is_used_but_for_texts_that_are_trained() -> None:
    prepared = prepare(data(examples(a=10, b=10), [Example("a 1", ("a",)), Example("new", ("b",))]), seed=1)
    assert prepared.validation == [Example("new", ("b",))]
    assert len(prepared.training) == 20
    assert prepared.notes == ["1 texts of the validation file are trained on too, and do not count."]


def test_a_validation_file_of_trained_texts_only_is_replaced() -> None:
    prepared = prepare(data(examples(a=10, b=10), examples(a=3)), seed=1)
    assert len(prepared.validation) == 2
    assert len(prepared.training) == 18


def test_rare_classes_weigh_more_and_the_mean_is_one() -> None:
    prepared = prepare(data(examples(a=160, b=10), [Example("new", ("a",))]), seed=1)
    a, b = prepared.weights
    assert b == pytest.approx(4 * a)
    assert (160 * a + 10 * b) / 170 == pytest.approx(1)
    assert prepare(data(examples(a=30, b=10)), seed=1).weights == [1, 1]
