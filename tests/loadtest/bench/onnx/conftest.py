"""Tiny models as subjects of the benchmark, measured as shortly as can be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engines.onnx.model.model import load
from loadtest.bench.onnx.__main__ import parser
from loadtest.bench.onnx.subject import Subject
from tests.engines.onnx.tiny import write_classifier, write_embedder

TEXTS = ["good cat", "bad dog cat", "cat", "dog " * 9]


@pytest.fixture
def subject_of(tmp_path: Path) -> Callable[[str], Subject]:
    """A function that makes the subject of a task."""

    def make(task: str) -> Subject:
        folder = write_embedder(tmp_path) if task == "embed" else write_classifier(tmp_path)
        options = ["--folder", str(folder), "--task", task, "--seconds", "0.5", "--clients", "8", "--threads", "1"]
        options += ["--requests", "100"]
        return Subject(load("model", folder, task), task, TEXTS, parser().parse_args(options))

    return make


@pytest.fixture
def subject(subject_of: Callable[[str], Subject]) -> Subject:
    """A model that embeds."""
    return subject_of("embed")
