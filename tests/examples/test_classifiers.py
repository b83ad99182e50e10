from __future__ import annotations

import httpx
import pytest

from examples.classifiers import BATCH, LONGEST, TuningFailed, Verdict, classify, connect, explained, find, find_or_make
from tests.examples.fake_gateway import FakeGateway, fake_gateway, job

EXAMPLES = [("Fine.", "good"), ("Dire.", "bad")]


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for a job's state again at once, and leave out nothing of what it says."""
    monkeypatch.setattr("examples.classifiers._POLL_SECONDS", 0.0)
    monkeypatch.setattr("examples.classifiers._TOLD_SECONDS", -1.0)


def test_a_classifier_is_made_and_its_making_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with fake_gateway() as gateway, connect(gateway.url) as client:
        assert find_or_make(client, "films", EXAMPLES, time_budget=30) == "ft:minilm:headgate:films:1"
    assert b'{"text": "Fine.", "label": "good"}\n{"text": "Dire.", "label": "bad"}' in gateway.uploads[0]
    (order,) = gateway.orders
    assert (order["model"], order["training_file"], order["suffix"]) == ("minilm", "file-1", "films")
    assert order["method"]["supervised"]["hyperparameters"] == {"time_budget": 30}
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "uploading 2 examples as films.jsonl",
        "  Created fine-tuning job",
        "  Step 1/1: training loss=0.5",
        "  The job has successfully completed",
    ]


def test_held_back_examples_and_other_hyperparameters_go_along() -> None:
    with fake_gateway() as gateway, connect(gateway.url) as client:
        find_or_make(client, "films", EXAMPLES, [("Good.", "good")], method="probe", quantize=False)
    assert b'filename="films-held-back.jsonl"' in gateway.uploads[1]
    (order,) = gateway.orders
    assert (order["training_file"], order["validation_file"]) == ("file-1", "file-2")
    assert order["method"]["supervised"]["hyperparameters"] == {"method": "probe", "quantize": False}


def test_a_classifier_that_is_there_is_not_made_again(capsys: pytest.CaptureFixture[str]) -> None:
    models = ["minilm", "ft:minilm:headgate:other:1", "ft:minilm:headgate:films:2"]
    with fake_gateway(FakeGateway(models=models)) as gateway, connect(gateway.url) as client:
        assert find_or_make(client, "films", EXAMPLES, time_budget=30) == "ft:minilm:headgate:films:2"
        assert find(client, "film") is None
    assert gateway.orders == []
    assert "ft:minilm:headgate:films:2 is there already" in capsys.readouterr().out


def test_a_job_that_runs_already_is_waited_for() -> None:
    with fake_gateway(FakeGateway(jobs=[job("films")])) as gateway, connect(gateway.url) as client:
        assert find_or_make(client, "films", EXAMPLES, time_budget=30) == "ft:minilm:headgate:films:1"
    assert gateway.orders == []


def test_a_job_that_fails_says_why() -> None:
    with (
        fake_gateway(FakeGateway(ends="failed")) as gateway,
        connect(gateway.url) as client,
        pytest.raises(TuningFailed, match=r"ftjob-films failed: There was no memory\."),
    ):
        find_or_make(client, "films", EXAMPLES, time_budget=30)


def test_texts_are_asked_in_batches_and_cut() -> None:
    texts = ["one", "word " * 10_000, *map(str, range(BATCH))]
    with fake_gateway(FakeGateway(label=lambda model, text: text[:3])) as gateway, httpx.Client() as http:
        verdicts = classify(http, gateway.url, "m", texts)
    assert verdicts == [Verdict(text[:3], 0.9) for text in texts]
    assert [len(each["input"]) for each in gateway.classified] == [BATCH, 2]
    assert max(len(text) for each in gateway.classified for text in each["input"]) == LONGEST
    assert all(each["truncate_prompt_tokens"] == -1 for each in gateway.classified)


def test_an_error_of_the_gateway_is_shown_in_its_words() -> None:
    with (
        fake_gateway(FakeGateway(failures=[404])) as gateway,
        httpx.Client() as http,
        pytest.raises(httpx.HTTPStatusError) as caught,
    ):
        classify(http, gateway.url, "m", ["a"])
    assert "not now" in explained(caught.value, gateway.url)


def test_a_gateway_that_is_not_there_is_said_with_what_to_do() -> None:
    error = httpx.ConnectError("refused")
    assert explained(error, "http://x/v1").startswith("nothing answers at http://x/v1; start a gateway")
