"""The customer service against the running default: a classifier is made, and questions are answered or handed over."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from examples.customer_service import __main__ as customer_service
from examples.customer_service.__main__ import main
from examples.customer_service.intents import TRAIN, read_questions
from tests.e2e.conftest import Served

pytestmark = pytest.mark.slow

INTENTS = {"card_arrival", "top_up_limits", "terminate_account"}


def test_a_bank_answers_what_it_knows(
    fine_tuning: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = tmp_path / "questions.csv"
    with questions.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "category"])
        writer.writerows(question for question in read_questions(TRAIN) if question.intent in INTENTS)
    monkeypatch.setattr(customer_service, "TRAIN", questions)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = f"{fine_tuning.address}/v1"
    asked = ["--ask", "My new card has still not arrived by post", "--ask", "Which pancakes taste best?"]
    assert main(["--url", url, "--time-budget", "5", *asked]) == 0
    known, unknown = capsys.readouterr().out.split("\n> ")[1:]
    assert "from “My card has not arrived yet”" in known
    assert known.splitlines()[1].strip().endswith((".", "free."))
    assert "I do not know." in unknown
