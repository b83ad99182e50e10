"""A trained classifier is measured on changed texts as if each were asked by itself, but in few passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engines.train.tiny_models import needed, reviews, write_encoder

torch = needed()

from engines.perturbations import PERTURBATIONS  # noqa: E402
from engines.train.classifier.encoder import Base, Classifier, rows_of  # noqa: E402
from engines.train.classifier.prepare import Prepared  # noqa: E402
from engines.train.classifier.probe import Probe  # noqa: E402
from engines.train.classifier.robustness import frozen, measure  # noqa: E402
from engines.train.examples import Example  # noqa: E402

pytestmark = pytest.mark.slow

SEED = 5
CONTRAST = Probe(torch.randn(2, 16, generator=torch.Generator().manual_seed(1)), torch.zeros(2), 0.01)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("models") / "encoder")


@pytest.fixture
def base(weights: Path) -> Base:
    return Base(weights)


def prepared(examples: list[Example], *, multi_label: bool = False) -> Prepared:
    return Prepared([], examples, ["bad", "good"], multi_label, [1.0, 1.0], [])


def one_label(count: int) -> list[Example]:
    return [Example(line["text"], (line["label"],)) for line in reviews(count)]


def logits_of(model: Classifier, base: Base, texts: list[str]) -> Any:
    return rows_of(model, base.tokens(texts), exact=True)


def counted(model: Classifier) -> list[int]:
    """Give a list that grows by the size of each batch that goes through the model from now on."""
    sizes: list[int] = []
    model.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    return sizes


def test_each_row_is_the_accuracy_on_texts_that_were_changed_so(weights: Path, base: Base) -> None:
    model, data = frozen(weights, CONTRAST), prepared(one_label(40))
    texts = [each.text for each in data.validation]
    found = measure(model, None, base, data, logits_of(model, base, texts), SEED)
    assert (found.texts, found.probe) == (40, None)
    wanted = [data.labels.index(each.labels[0]) for each in data.validation]
    for row in found.rows:
        asked = [PERTURBATIONS[row.name](text, SEED) for text in texts] if row.name in PERTURBATIONS else texts
        answers = logits_of(model, base, asked).argmax(dim=1).tolist()
        right = [answer == label for answer, label in zip(answers, wanted, strict=True)]
        assert row.accuracy == pytest.approx(sum(right) / 40), row.name
    # A tokenizer of whole words does not know a word in capitals, and these texts have none.
    assert {row.name: row.changed for row in found.rows}["upper case"] == 40
    assert {row.name: row.changed for row in found.rows}["lower case"] == 0


def test_with_several_labels_all_must_be_right(weights: Path, base: Base) -> None:
    model = frozen(weights, Probe(torch.zeros(2, 16), torch.tensor([1.0, -1.0]), 0.01))
    examples = [Example("the film was bad", ("bad",)), Example("the film was good and bad", ("good", "bad"))]
    data = prepared(examples, multi_label=True)
    found = measure(model, None, base, data, logits_of(model, base, [each.text for each in examples]), SEED)
    # Its answer is "bad" alone to any text.
    assert [row.accuracy for row in found.rows] == [0.5] * 7
    assert {row.flips for row in found.rows} <= {0.0, None}


def test_what_is_known_is_not_computed_again_and_like_tokens_once(weights: Path, base: Base) -> None:
    model, data = frozen(weights, CONTRAST), prepared([Example("karte", ("bad",))])
    logits = logits_of(model, base, ["karte"])
    passes = counted(model)
    found = measure(model, None, base, data, logits, SEED)
    assert {row.name: row.changed for row in found.rows}["upper case"] == 1
    # A word that is not known is the same token in upper case and with a typo; padding and an injection are longer.
    assert sum(passes) == 2


def test_a_probe_is_measured_on_the_same_texts(weights: Path, base: Base) -> None:
    model = frozen(weights, CONTRAST)
    probe = frozen(weights, Probe(-CONTRAST.weight, CONTRAST.bias, 0.01))
    data = prepared(one_label(40))
    logits = logits_of(model, base, [each.text for each in data.validation])
    found = measure(model, probe, base, data, logits, SEED)
    assert found.probe is not None
    # The probe answers the opposite to everything.
    assert [row.accuracy for row in found.probe] == pytest.approx([1 - row.accuracy for row in found.rows])


def several(count: int) -> list[str]:
    words = ("good", "bad", "film", "plot", "actor", "was", "the", "and")
    return [" ".join(words[number >> 3 * at & 7] for at in range(4)) for number in range(0, 9 * count, 9)]


def test_a_large_job_is_measured_on_two_hundred_texts_that_the_seed_draws(weights: Path, base: Base) -> None:
    model, data = frozen(weights, CONTRAST), prepared([Example(text, ("bad",)) for text in several(400)])
    logits = logits_of(model, base, several(400))
    found = measure(model, None, base, data, logits, SEED)
    assert found.texts == 200
    assert found == measure(model, None, base, data, logits, SEED)
    assert found.rows != measure(model, None, base, data, logits, SEED + 1).rows


def test_two_models_are_measured_on_fewer_texts_so_that_a_thousand_passes_are_enough(weights: Path, base: Base) -> None:
    model, probe = frozen(weights, CONTRAST), frozen(weights, CONTRAST)
    data = prepared([Example(text, ("bad",)) for text in several(400)])
    logits = logits_of(model, base, several(400))
    passes = [counted(model), counted(probe)]
    found = measure(model, probe, base, data, logits, SEED)
    assert found.texts < 200
    assert 700 < sum(map(sum, passes)) <= 1000
