"""``examples/film_reviews.py`` against the default models: it fine-tunes one of them for a few seconds, and asks it."""

from __future__ import annotations

import re

import pytest

from examples.film_reviews import main
from tests.e2e.conftest import Served

pytestmark = pytest.mark.slow


def test_reviews_are_learnt_and_told_apart(fine_tuning: Served, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--url", f"{fine_tuning.address}/v1", "--time-budget", "15", "--examples", "200"]
    assert main(options) == 0
    said = capsys.readouterr().out
    assert "New fine-tuned model created: ft:minilm:headgate:film-reviews:" in said
    right = re.search(r"([\d.]+)% of 200 sentences that it has not learnt from", said)
    assert right is not None, said
    assert float(right[1]) > 60  # Half of them are good: a coin would be right for 100, give or take 7.
    assert main(options) == 0
    assert "film-reviews" in (again := capsys.readouterr().out)
    assert "is there already" in again
