"""Logistic regression finds what a line can tell apart, whatever the scale of its vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.engines.train.tiny_models import needed

torch = needed()

from engines.train.classifier.encoder import Portion  # noqa: E402
from engines.train.classifier.probe import Seen, fit, fit_growing, loss_of  # noqa: E402

pytestmark = pytest.mark.slow


def clouds(scale: float) -> tuple[Any, Any]:
    """Make three clouds of points and their labels; the last dimension never varies."""
    torch.manual_seed(1)
    centres = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [-2.0, -2.0, 0.0]])
    numbers = torch.arange(300) % 3
    spread = torch.randn(300, 3) * torch.tensor([0.5, 0.5, 0.0])
    return (centres[numbers] + spread) * scale, torch.eye(3)[numbers]


@pytest.mark.parametrize("scale", [0.001, 1.0, 1000.0])
def test_clouds_are_told_apart(scale: float) -> None:
    vectors, truth = clouds(scale)
    probe = fit(vectors[:200], truth[:200], [1, 1, 1], (vectors[200:], truth[200:]), multi_label=False)
    logits = vectors[200:] @ probe.weight.T + probe.bias
    assert (logits.argmax(1) == truth[200:].argmax(1)).float().mean() > 0.97
    assert probe.weight.isfinite().all()


def test_a_fit_that_begins_with_that_of_fewer_examples_comes_to_the_same_answers() -> None:
    vectors, truth = clouds(1.0)
    validation = (vectors[200:], truth[200:])
    few = fit(vectors[:50], truth[:50], [1, 1, 1], validation, multi_label=False)
    alone = fit(vectors[:200], truth[:200], [1, 1, 1], validation, multi_label=False)
    probe = fit(vectors[:200], truth[:200], [1, 1, 1], validation, multi_label=False, begin=few)
    assert torch.equal(*((vectors @ each.weight.T + each.bias).argmax(1) for each in (alone, probe)))


def grown(truth: Any, vectors: Any, counts: tuple[int, ...]) -> tuple[Seen, list[int]]:
    """Fit to the first vectors, so many at a time; give what the probe has seen, and which counts it asked for."""
    asked: list[int] = []

    def portions() -> Iterator[Portion]:
        for count in counts:
            asked.append(count)
            yield Portion(vectors[:count], list(range(count)), count / 100)

    validation = (vectors[200:], truth[200:])
    _, seen = fit_growing(portions(), truth, [1, 1, 1], validation, multi_label=False)
    return seen, asked


def test_no_more_examples_are_asked_for_when_twice_as_many_teach_little() -> None:
    vectors, truth = clouds(1.0)
    shuffled = truth[torch.randperm(300)]
    seen, asked = grown(shuffled, vectors, (50, 100, 200))
    assert asked == [50, 100]
    assert seen == (list(range(100)), 1.0, True)


def test_more_examples_are_asked_for_as_long_as_they_teach() -> None:
    vectors, truth = clouds(1.0)
    _, asked = grown(truth, vectors, (3, 6, 12))
    assert asked == [3, 6, 12]


def test_a_portion_that_the_time_has_cut_short_does_not_tell_that_more_teach_little() -> None:
    vectors, truth = clouds(1.0)
    shuffled = truth[torch.randperm(300)]
    seen, _ = grown(shuffled, vectors, (50, 70))
    assert seen == (list(range(70)), 0.7, False)


def test_several_labels_are_told_for_themselves() -> None:
    vectors, _ = clouds(1.0)
    truth = torch.stack([vectors[:, 0] > 0, vectors[:, 1] > 0], dim=1).float()
    probe = fit(vectors[:200], truth[:200], [1, 1], (vectors[200:], truth[200:]), multi_label=True)
    logits = vectors[200:] @ probe.weight.T + probe.bias
    assert ((logits > 0).float() == truth[200:]).float().mean() > 0.95


def test_labels_that_tell_nothing_get_a_strong_penalty() -> None:
    vectors, truth = clouds(1.0)
    shuffled = truth[torch.randperm(300)]
    assert fit(vectors[:200], shuffled[:200], [1, 1, 1], (vectors[200:], shuffled[200:]), multi_label=False).penalty > (
        fit(vectors[:200], truth[:200], [1, 1, 1], (vectors[200:], truth[200:]), multi_label=False).penalty
    )


def test_weights_are_those_of_the_labels() -> None:
    logits, truth = torch.zeros(2, 2), torch.eye(2)
    plain = loss_of(logits, truth, [1, 1], multi_label=False)
    assert loss_of(logits, truth, [1, 3], multi_label=False) == pytest.approx(2 * float(plain))
