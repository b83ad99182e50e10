"""Each method trains what its name says, and batches are the same for the same epoch and seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engines.train.tiny_models import needed, write_encoder

torch = needed()

from engines.train.classifier.encoder import Base, Classifier, padded  # noqa: E402
from engines.train.classifier.finetune import (  # noqa: E402
    Method,
    Teacher,
    TextCourse,
    choose_parameters,
    epochs_for,
    merge,
    method_for,
    optimizer_of,
    soft_loss,
    truth_of,
    without_dropout,
)
from engines.train.classifier.prepare import Prepared  # noqa: E402
from engines.train.errors import JobError  # noqa: E402
from engines.train.examples import Example  # noqa: E402

pytestmark = pytest.mark.slow

EXAMPLES = [Example(f"the film was {word} and great", (label,)) for word, label in (("good", "a"), ("bad", "b"))] * 20
DATA = Prepared(EXAMPLES, EXAMPLES[:4], ["a", "b"], False, [1.0, 1.0], [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("models") / "encoder")


def made(folder: Path) -> tuple[Base, Any]:
    torch.manual_seed(1)
    base = Base(folder)
    return base, Classifier(base.model, base.width, 2, cls=base.cls)


def trained_names(model: Any) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_full_trains_all_that_is_used(folder: Path) -> None:
    _, model = made(folder)
    choose_parameters(model, "full")
    frozen = {name for name, _ in model.named_parameters()} - trained_names(model)
    assert all("pooler" in name for name in frozen)


def test_top_layers_trains_the_upper_half(folder: Path) -> None:
    _, model = made(folder)
    choose_parameters(model, "top_layers")
    names = trained_names(model)
    assert names >= {"head.weight", "head.bias"}
    assert all(".layer.1." in name for name in names if not name.startswith("head."))


def test_all_layers_are_trained_where_the_time_allows_each_example_once(folder: Path, tmp_path: Path) -> None:
    encoder = made(folder)[1].encoder
    assert method_for(encoder, embedding=10.0, budget=30.0) == "full"
    assert method_for(encoder, embedding=10.0, budget=29.0) == "top_layers"
    assert method_for(made(write_encoder(tmp_path, num_hidden_layers=1))[1].encoder, 10.0, 29.0) == "full"


def test_without_dropout_a_training_step_computes_what_is_served(folder: Path) -> None:
    base, model = made(folder)
    torch.nn.init.ones_(model.head.weight[:1].detach())
    ids, mask = padded(base.tokens(["good film", "bad film"]))
    with torch.inference_mode():
        served = model.eval()(ids, mask)
        model.train()
        with without_dropout(model):
            assert torch.allclose(model(ids, mask), served, atol=1e-5)
        assert not torch.allclose(model(ids, mask), served, atol=1e-5)


def test_lora_trains_matrices_beside_the_layers_and_merges_them(folder: Path) -> None:
    base, model = made(folder)
    choose_parameters(model, "lora")
    assert all("lora_" in name or name.startswith("head.") for name in trained_names(model))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    ids, mask = padded(base.tokens(["good film"]))
    model.eval()
    with torch.inference_mode():
        before = model.embed(ids, mask)
        merge(model, "lora")
        assert torch.allclose(model.embed(ids, mask), before, atol=1e-4)
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_a_base_of_one_layer_has_no_upper_half(tmp_path: Path) -> None:
    _, model = made(write_encoder(tmp_path, num_hidden_layers=1))
    with pytest.raises(JobError, match="has no layers to train apart"):
        choose_parameters(model, "top_layers")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_head_learns_five_times_as_fast(folder: Path, method: Method) -> None:
    _, model = made(folder)
    choose_parameters(model, method)
    groups = optimizer_of(model, method, 2.0).param_groups
    assert groups[-1]["lr"] == pytest.approx(5 * groups[0]["lr"])
    assert groups[-1]["params"] == [model.head.weight, model.head.bias]


def test_upper_layers_that_are_twice_as_wide_learn_half_as_fast(tmp_path: Path) -> None:
    rates = []
    for width in (384, 768):
        _, model = made(write_encoder(tmp_path / str(width), hidden_size=width))
        choose_parameters(model, "top_layers")
        rates.append(optimizer_of(model, "top_layers", 1.0).param_groups[0]["lr"])
    assert rates[0] == pytest.approx(2 * rates[1])


def test_batches_of_an_epoch_are_always_the_same(folder: Path) -> None:
    base, model = made(folder)
    course = TextCourse(model, base, DATA, batch_size=8, seed=1)
    assert [batch.texts for batch in course.batches(0)] == [batch.texts for batch in course.batches(0)]
    assert [batch.texts for batch in course.batches(0)] != [batch.texts for batch in course.batches(1)]
    assert sum(course.tokens(batch) for batch in course.batches(0)) == 40 * 8


def test_augmenting_changes_half_of_the_texts(folder: Path) -> None:
    base, model = made(folder)
    unchanged = TextCourse(model, base, DATA, batch_size=8, seed=1)
    plain = {tuple(text) for batch in unchanged.batches(0) for text in batch.texts}
    course = TextCourse(model, base, DATA, batch_size=8, seed=1, augment=True)
    texts = [tuple(text) for batch in course.batches(0) for text in batch.texts]
    assert 0 < sum(text not in plain for text in texts) <= 30


def test_the_loss_counts_right_answers(folder: Path) -> None:
    base, model = made(folder)
    course = TextCourse(model, base, DATA, batch_size=8, seed=1)
    found = course.loss(course.batches(0)[0])
    assert float(found.loss.detach()) == pytest.approx(0.6931, abs=1e-3)
    assert found.labels == 8
    score = course.validate()
    assert score.loss == pytest.approx(0.6931, abs=1e-3)
    assert score.accuracy == 0.5
    assert course.validated.shape == (4, 2)


def test_a_teacher_is_half_of_the_loss(folder: Path) -> None:
    base, model = made(folder)
    taught = torch.tensor([[4.0, -4.0], [-4.0, 4.0]] * 20)
    plain = TextCourse(model, base, DATA, batch_size=8, seed=1)
    course = TextCourse(model, base, DATA, batch_size=8, seed=1, teacher=Teacher(taught, 1.0))
    batch = course.batches(0)[0]
    assert (batch.taught.argmax(dim=1) == batch.truth.argmax(dim=1)).all()
    with torch.inference_mode():
        model.eval()
        own = float(plain.loss(batch).loss)
        soft = float(soft_loss(model(*padded(batch.texts)), batch.taught, 1.0, multi_label=False))
        assert float(course.loss(batch).loss) == pytest.approx((own + soft) / 2)


def test_the_truth_is_a_row_of_zeros_and_ones() -> None:
    assert truth_of(DATA, validation=True).tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize(("examples", "epochs"), [(10, 10), (3000, 10), (10_000, 3), (70_000, 1)])
def test_many_examples_need_few_epochs(examples: int, epochs: int) -> None:
    assert epochs_for(examples) == epochs
