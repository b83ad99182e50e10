"""Heads that matter least are cut out of an encoder, which then computes what it would with these heads silent."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engines.train.errors import JobError
from tests.engines.train.tiny_models import events, needed, reviews, write_encoder, write_job

torch = needed()

from engines.train.__main__ import main  # noqa: E402
from engines.train.classifier.encoder import Base, Classifier, padded  # noqa: E402
from engines.train.classifier.finetune import TextCourse, layers_of  # noqa: E402
from engines.train.classifier.heads import check_heads, importances, keep_heads, most_important  # noqa: E402
from engines.train.classifier.prepare import prepare  # noqa: E402
from engines.train.examples import read_texts  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("models") / "encoder", num_attention_heads=4)


def classifier(base: Base) -> Classifier:
    torch.manual_seed(1)
    made = Classifier(base.model, base.width, 2, cls=base.cls)
    made.eval()
    torch.nn.init.normal_(made.head.weight)
    return made


def silenced(model: Classifier, layer: int, head: int) -> None:
    """Let a head of four, each four wide, say nothing."""
    with torch.no_grad():
        layers_of(model.encoder)[layer].attention.output.dense.weight[:, 4 * head : 4 * head + 4] = 0


def course_of(model: Classifier, base: Base, folder: Path) -> TextCourse:
    job = write_job(folder / "job", base.folder, reviews(60))
    data = prepare(read_texts(job.with_name("job.jsonl"), None), 3)
    return TextCourse(model, base, data, batch_size=16, seed=3)


def test_what_is_left_computes_as_with_the_other_heads_silent(encoder: Path) -> None:
    base = Base(encoder)
    model = classifier(base)
    asked = padded(base.tokens(["good film", "the plot was poor and the actor bad"]))
    for layer, head in ((0, 1), (1, 0), (1, 2), (1, 3)):
        silenced(model, layer, head)
    with torch.inference_mode():
        wanted = model(*asked)
        whole = sum(each.numel() for each in model.parameters())
        keep_heads(model, [[0, 2, 3], [1]])
        assert torch.allclose(model(*asked), wanted, atol=1e-6)
    assert [layer.attention.self.query.out_features for layer in layers_of(model.encoder)] == [12, 4]
    # A head has three matrices of 16 x 4 with their biases, and one of 4 x 16.
    assert whole - sum(each.numel() for each in model.parameters()) == 4 * (3 * (16 * 4 + 4) + 4 * 16)


def test_a_head_that_says_nothing_matters_least(encoder: Path, tmp_path: Path) -> None:
    base = Base(encoder)
    model = classifier(base)
    silenced(model, 0, 2)
    before = [each.clone() for each in model.parameters()]
    found = importances(model, course_of(model, base, tmp_path), time.perf_counter() + 60)
    assert [float(values.norm()) for values in found] == pytest.approx([1.0, 1.0])
    assert found[0][2] == 0
    assert all(float(value) > 0 for value in [*found[0][:2], found[0][3], *found[1]])
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
    assert all(each.grad is None for each in model.parameters())
    assert most_important(found, 0.1) == [[0, 1, 3], [0, 1, 2, 3]]


def test_some_text_is_looked_at_however_little_time_there_is(encoder: Path, tmp_path: Path) -> None:
    base = Base(encoder)
    model = classifier(base)
    assert all(values.any() for values in importances(model, course_of(model, base, tmp_path), 0.0))


@pytest.mark.parametrize(
    ("share", "kept"),
    [
        (0.01, [[0, 1], [0, 1, 2]]),
        (0.34, [[0, 1], [1, 2]]),
        (0.5, [[0, 1], [1]]),
        (0.99, [[0], [1]]),
    ],
)
def test_the_least_important_are_left_out_but_no_layer_loses_its_best(share: float, kept: list[list[int]]) -> None:
    assert most_important([torch.tensor([0.9, 0.4, 0.1]), torch.tensor([0.2, 0.9, 0.3])], share) == kept


@pytest.mark.parametrize(
    ("kind", "heads", "reason"),
    [
        ("mpnet", 12, "the type 'mpnet', whose attention heads cannot be pruned; those of bert,"),
        ("bert", 1, "has one attention head in each layer"),
    ],
)
def test_models_whose_heads_cannot_be_left_out_are_refused(kind: str, heads: int, reason: str) -> None:
    encoder: Any = SimpleNamespace(config=SimpleNamespace(model_type=kind, num_attention_heads=heads))
    with pytest.raises(JobError, match=reason) as told:
        check_heads(encoder)
    assert told.value.param == "hyperparameters.prune.heads"


@pytest.mark.parametrize(
    ("prune", "left"),
    [
        ({"heads": 0.5}, "4 of 8 attention heads"),
        ({"layers": 1, "heads": 0.25}, "1 layers with 3 of 4 attention heads"),
    ],
)
def test_a_job_leaves_heads_out_and_says_so(tmp_path: Path, encoder: Path, prune: dict[str, Any], left: str) -> None:
    folder = write_job(tmp_path / "job", encoder, reviews(120), prune=prune)
    assert main([str(folder)]) == 0
    told = " ".join(event["message"] for event in events(folder, "message"))
    assert f"Made smaller, to {left}: accuracy" in told
    card = (folder / "result" / "card.md").read_text()
    assert f"by pruning it; {left} are left, and were trained on." in card
    row = re.search(r"\| parameters \| (\S+) \| (\S+) \|", card)
    assert row is not None
    before, after = (int(each.replace(",", "")) for each in row.groups())
    assert after < before
