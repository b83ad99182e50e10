"""Writes a classifier as an ONNX folder, and compares what ONNX Runtime computes with what was trained."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engines.onnx.model.model import Model, load
from engines.train.classifier.encoder import Base, Classifier, TokenIds, rows_of
from engines.train.errors import JobError

_OPSET = 17
_TOLERANCE = 1e-3
"""By how much a logit may differ; the two computed within 1e-5 of each other."""

_COMPARED = 64
_FILES = ("tokenizer.json", "tokenizer_config.json")


def export(model: Classifier, base: Base, folder: Path, labels: Sequence[str], *, multi_label: bool) -> None:
    """Write graph, tokenizer and configuration into a new folder."""
    folder.mkdir()
    ids = torch.tensor([[1, 2, 3], [1, 2, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    model.eval()
    axes = {0: "texts", 1: "tokens"}
    with warnings.catch_warnings():
        # The exporter tells its authors what it did to shapes, and that its successor takes four times as long.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (ids, mask),
            folder / "model.onnx",
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "texts"}},
            opset_version=_OPSET,
            dynamo=False,
        )
    for name in _FILES:
        if (base.folder / name).exists():
            shutil.copy2(base.folder / name, folder / name)
    config = base.model.config.to_dict()
    kept = {name: config[name] for name in ("model_type", "max_position_embeddings", "vocab_size") if name in config}
    kept |= {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "problem_type": f"{'multi' if multi_label else 'single'}_label_classification",
    }
    (folder / "config.json").write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def checked(name: str, folder: Path, model: Classifier, base: Base, texts: Sequence[TokenIds]) -> tuple[Model, float]:
    """Load what was exported as the server will, and give it with the greatest difference of a logit.

    Raises ``JobError`` where it computes something else than the model that was trained.
    """
    served = load(name, folder, "classify", max_length=base.max_length)
    compared = list(texts[:_COMPARED])
    found = logits_of(served, compared)
    wanted = rows_of(model.eval(), compared, exact=True).numpy()
    difference = float(np.abs(found - wanted).max())
    if not difference <= _TOLERANCE:
        raise JobError(
            "export_failed",
            f"The exported model's logits differ by {difference:.3g} from those of the model that was trained; "
            f"at most {_TOLERANCE:g} is allowed.",
        )
    return served, difference


def logits_of(served: Model, texts: Sequence[TokenIds]) -> Any:
    """Compute the logits of texts as the server does, shape (texts, classes)."""
    return np.stack([np.asarray(served.compute([text]))[0] for text in texts])
