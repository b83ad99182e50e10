"""A classifier is made once, of questions that are not those that it is measured with."""

from __future__ import annotations

import json
from collections import Counter

import httpx
import pytest
from openai import OpenAI

from examples.classifiers import LONGEST, TuningFailed, Verdict
from examples.customer_service.intents import (
    TEST,
    TRAIN,
    Question,
    classify,
    find_or_make,
    read_questions,
    split,
)
from tests.examples.fake_models import FakeModels

MADE = "ft:minilm:headgate:banking77:1"
QUESTIONS = [Question(f"Where is card {number}?", "card_arrival") for number in range(20)]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.classifiers._POLL_SECONDS", 0.0)


def lines(upload: bytes) -> list[dict[str, str]]:
    return [json.loads(line) for line in upload.splitlines() if line.startswith(b"{")]


def test_the_data_is_whole() -> None:
    trained, tested = read_questions(TRAIN), read_questions(TEST)
    assert (len(trained), len(tested)) == (10_003, 3_080)
    assert set(Counter(question.intent for question in tested).values()) == {40}
    assert trained[0] == Question("I am still waiting on my card?", "card_arrival")


def test_every_tenth_question_of_each_intent_is_held_back() -> None:
    questions = read_questions(TRAIN)
    trained, held = split(questions)
    assert sorted(trained + held) == sorted(questions)
    assert {question.intent for question in held} == {question.intent for question in trained}
    assert split(QUESTIONS)[1] == [QUESTIONS[9], QUESTIONS[19]]


def test_a_classifier_is_made_of_both_parts(
    models: FakeModels, client: OpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_or_make(client, QUESTIONS, 30.0) == MADE
    train, held = map(lines, models.uploaded)
    assert (len(train), len(held)) == (18, 2)
    assert held[0] == {"text": "Where is card 9?", "label": "card_arrival"}
    [order] = models.bodies("/v1/fine_tuning/jobs")[-1:]
    assert (order["model"], order["training_file"], order["validation_file"]) == ("minilm", "file-1", "file-2")
    assert order["method"]["supervised"]["hyperparameters"] == {
        "method": "probe",
        "time_budget": 30.0,
        "quantize": False,
    }
    assert "  The probe is right in 90%" in capsys.readouterr().out


def test_a_classifier_that_is_there_is_taken(
    models: FakeModels, client: OpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    models.models += ["ft:minilm:headgate:reviews:2", MADE]
    assert find_or_make(client, QUESTIONS, 30.0) == MADE
    assert models.uploaded == []
    assert f"{MADE} is there already" in capsys.readouterr().out


def test_a_job_that_is_under_way_is_followed(models: FakeModels, client: OpenAI) -> None:
    models.jobs = [models.job()]
    assert find_or_make(client, QUESTIONS, 30.0) == MADE
    assert models.uploaded == []


def test_a_job_that_fails_says_why(models: FakeModels, client: OpenAI) -> None:
    models.job_ends = "failed"
    with pytest.raises(TuningFailed, match="ftjob-1 failed: The loss is nan"):
        find_or_make(client, QUESTIONS, 30.0)


def test_questions_are_classified_in_batches(models: FakeModels) -> None:
    models.labels["card"] = ("card_arrival", 0.9)
    verdicts = classify(models.url, "k", MADE, ["Where is my card?", "What?"] * 50)
    assert verdicts == [Verdict("card_arrival", 0.9), Verdict("unknown", 0.1)] * 50
    assert [len(body["input"]) for body in models.bodies("/classify")] == [64, 36]


def test_a_question_of_ten_thousand_words_is_cut(models: FakeModels) -> None:
    assert classify(models.url, "k", MADE, ["word " * 10_000]) == [Verdict("unknown", 0.1)]
    [body] = models.bodies("/classify")
    assert (len(body["input"][0]), body["truncate_prompt_tokens"]) == (LONGEST, -1)


def test_a_gateway_that_is_not_there_is_an_error() -> None:
    with pytest.raises(httpx.ConnectError):
        classify("http://127.0.0.1:1/v1", "k", MADE, ["a"])
