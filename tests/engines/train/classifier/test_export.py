"""What is exported computes what was trained, and is refused if it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engines.train.tiny_models import needed, write_encoder

torch = needed()

from engines.train.classifier.encoder import Base, Classifier, rows_of  # noqa: E402
from engines.train.classifier.export import checked, export, logits_of  # noqa: E402
from engines.train.errors import JobError  # noqa: E402

pytestmark = pytest.mark.slow

TEXTS = ["good film", "bad", "the film was great and the plot was fine", "poor actor"]


def made(folder: Path) -> tuple[Base, Any]:
    base = Base(write_encoder(folder))
    model = Classifier(base.model, base.width, 3, cls=base.cls)
    with torch.no_grad():
        model.head.weight.normal_()
        model.head.bias.normal_()
    return base, model


def test_the_exported_model_answers_the_same(tmp_path: Path) -> None:
    base, model = made(tmp_path / "base")
    texts = base.tokens(TEXTS)
    export(model, base, tmp_path / "model", ["a", "b", "c, or d"], multi_label=True)
    served, difference = checked("m", tmp_path / "model", model, base, texts)
    assert difference < 1e-4
    assert logits_of(served, texts) == pytest.approx(rows_of(model, texts, exact=True).numpy(), abs=1e-4)
    assert repr(served.task) == "<Classify a, b, c, or d>"
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert config["max_position_embeddings"] == 40


def test_another_model_than_the_trained_one_is_refused(tmp_path: Path) -> None:
    base, model = made(tmp_path / "base")
    export(model, base, tmp_path / "model", ["a", "b", "c"], multi_label=False)
    with torch.no_grad():
        model.head.bias.add_(0.5)
    with pytest.raises(JobError, match=r"logits differ by 0\.5 ") as caught:
        checked("m", tmp_path / "model", model, base, base.tokens(TEXTS))
    assert caught.value.code == "export_failed"
