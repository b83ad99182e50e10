"""The load test against the default models: real tokenizers count as many tokens as were asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Served

pytestmark = pytest.mark.slow


def test_a_mix_over_all_models_and_its_results(served: Served, tmp_path: Path) -> None:
    saved, report = tmp_path / "out.json", tmp_path / "out.html"
    command = [sys.executable, "-m", "gateway", "bench", "--url", served.address, "--metrics", served.control]
    command += ["--mix", "completions=2,embeddings=1,classify=1", "--model", "completions=smollm2-135m"]
    command += ["--model", "embeddings=minilm", "--model", "classify=prompt-guard", "--rate", "4", "--seconds", "6"]
    command += ["--input-tokens", "60", "--output-tokens", "4", "--save", str(saved), "--report", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(saved.read_text())
    assert (found["completed"], found["failed"]) == (24, 0)
    completions, embeddings = found["kinds"]["completions"], found["kinds"]["embeddings"]
    assert completions["mean_input_tokens"] == completions["mean_asked_tokens"] == 60
    assert completions["total_output_tokens"] == 4 * completions["completed"]
    assert embeddings["mean_input_tokens"] == 62  # BERT's tokenizers put one token before and one behind.
    assert "waiting, as the server says" in report.read_text()
