"""The customer service against the running default: a classifier is made, and questions are answered or handed over."""

from __future__ import annotations

import csv
from pathlib import Path

import openai
import pytest

from examples.customer_service import __main__ as customer_service
from examples.customer_service import intents
from examples.customer_service.__main__ import main
from examples.customer_service.intents import TRAIN, read_questions
from tests.e2e.conftest import Served

pytestmark = pytest.mark.slow

SUFFIX = "test-of-customer-service"
"""Not that of the example itself: a classifier that somebody has made is left alone."""

INTENTS = {"card_arrival", "top_up_limits", "terminate_account"}


def test_a_bank_answers_what_it_knows(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = tmp_path / "questions.csv"
    with questions.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "category"])
        writer.writerows(question for question in read_questions(TRAIN) if question.intent in INTENTS)
    monkeypatch.setattr(customer_service, "TRAIN", questions)
    monkeypatch.setattr(intents, "SUFFIX", SUFFIX)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = f"{served.address}/v1"
    try:
        asked = ["--ask", "My new card has still not arrived by post", "--ask", "Which pancakes taste best?"]
        assert main(["--url", url, "--time-budget", "5", *asked]) == 0
    finally:
        with openai.OpenAI(base_url=url, api_key="unused") as client:
            for model in client.models.list():
                if f":{SUFFIX}:" in model.id:
                    client.models.delete(model.id)
    known, unknown = capsys.readouterr().out.split("\n> ")[1:]
    assert "from “My card has not arrived yet”" in known
    assert known.splitlines()[1].strip().endswith((".", "free."))
    assert "I do not know." in unknown
