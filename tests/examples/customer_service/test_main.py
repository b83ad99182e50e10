"""The program: what it prints for questions that it can answer, for others, and where something is missing."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from examples.customer_service import __main__ as customer_service
from examples.customer_service.__main__ import main
from tests.examples.fake_models import FakeModels


@pytest.fixture
def bank(models: FakeModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeModels:
    """Give a gateway where the classifier is trained, and knows a few words."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    questions = tmp_path / "questions.csv"
    questions.write_text(
        "text,category\n" + "".join(f"Has card {number} arrived?,card_arrival\n" for number in range(20))
    )
    monkeypatch.setattr(customer_service, "TRAIN", questions)
    monkeypatch.setattr(customer_service, "TEST", questions)
    models.models.append("ft:minilm:headgate:banking77:1")
    models.labels = {"arrived": ("card_arrival", 0.99), "arrive": ("card_arrival", 0.99)}
    return models


def test_a_question_is_answered_from_a_page(bank: FakeModels, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", bank.url, "--key", "sk-1", "--ask", "My card has not arrived yet"]) == 0
    assert bank.keys == {"Bearer sk-1"}
    said = capsys.readouterr().out
    assert "> My card has not arrived yet\n  A new card takes up to five working days to arrive in the UK" in said
    assert "from “My card has not arrived yet” (similarity" in said
    assert "intent card_arrival, 99%" in said
    assert "see also “" in said


def test_what_it_does_not_know_it_hands_over(bank: FakeModels, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", bank.url, "--ask", "pancakes"]) == 0
    said = capsys.readouterr().out
    assert "I do not know. I am not sure what you want" in said
    assert "I hand you over to a colleague." in said
    assert bank.bodies("/v1/chat/completions") == []


def test_questions_are_typed_one_on_each_line(
    bank: FakeModels, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"\nDid my card arrive?\n{'word ' * 10_000}\n"))
    assert main(["--url", bank.url, "--interactive"]) == 0
    said = capsys.readouterr().out
    assert said.count("\n> ") == 2
    assert "What can I do for you?\n" in said
    assert "(That is long; I have read its first 100 words.)" in said


def test_an_answer_that_breaks_off_leaves_the_page(bank: FakeModels, capsys: pytest.CaptureFixture[str]) -> None:
    bank.stream = "breaks"
    assert main(["--url", bank.url, "--ask", "My card has not arrived yet"]) == 0
    said = capsys.readouterr().out
    assert "A new c… (the answer broke off: " in said
    assert "tap Not received: we cancel it and send another one for free.\n  from “My card has not arrived yet”" in said


def test_limits_and_vectors_are_made_once(bank: FakeModels) -> None:
    for classified, embedded in ((2 + 1, 1 + 89 + 2 + 1), (2 + 1 + 1, 1 + 89 + 2 + 1 + 1 + 1)):
        assert main(["--url", bank.url, "--ask", "My card has not arrived yet"]) == 0
        assert sum(len(body["input"]) for body in bank.bodies("/classify")) == classified
        assert sum(len(body["input"]) for body in bank.bodies("/v1/embeddings")) == embedded


def test_a_measurement_draws_its_picture(bank: FakeModels, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "service.svg"
    assert main(["--url", bank.url, "--measure", "--picture", str(picture)]) == 0
    assert "| 20 test questions | |" in capsys.readouterr().out
    assert picture.read_text().startswith("<svg")


def test_an_empty_knowledge_base_is_told_before_anything_is_trained(
    models: FakeModels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "help.jsonl"
    file.write_text("")
    assert main(["--url", models.url, "--knowledge", str(file)]) == 1
    assert "help.jsonl has no passages; expected a line" in capsys.readouterr().err
    assert models.asked == []


def test_a_gateway_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "http://127.0.0.1:1/v1"]) == 1
    assert "nothing answers at http://127.0.0.1:1/v1; start a gateway with `make serve`" in capsys.readouterr().err


def test_the_demonstration_asks_what_can_be_answered_and_what_cannot(
    bank: FakeModels, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--url", bank.url]) == 0
    said = capsys.readouterr().out
    assert all(f"> {question}" in said for question in customer_service.DEMONSTRATION)
