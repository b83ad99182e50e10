"""A desk finds out what a question is about, and answers in the words of a passage."""

from __future__ import annotations

from pathlib import Path

import pytest
from openai import OpenAI, OpenAIError

from examples.classifiers import Verdict
from examples.customer_service.handover import Limits
from examples.customer_service.knowledge_base import KnowledgeBase, Passage
from examples.customer_service.service_desk import Desk, quotations, read_question
from examples.vectors import Embedder
from tests.examples.fake_models import FakeModels

ARRIVAL = Passage("My card is late", "Cards come by post. They take five days. Ask us then.", ("card_arrival",))
FEES = Passage("Fees", "Transfers cost nothing.", ("fees",))
LIMITS = Limits(0.6, 0.2)


@pytest.fixture
def desk(models: FakeModels, client: OpenAI, tmp_path: Path) -> Desk:
    embedder = Embedder(client, "minilm", tmp_path / "vectors.npz")
    knowledge = KnowledgeBase([ARRIVAL, FEES], embedder.embed([ARRIVAL.embedded, FEES.embedded]))
    models.labels["card"] = ("card_arrival", 0.9)
    return Desk(client, models.url, embedder, knowledge, "ft:minilm:x:banking77:1", "smollm2-135m")


def test_a_question_that_is_understood_is_answered(desk: Desk) -> None:
    considered = desk.consider("When does my card come?", LIMITS)
    assert considered.verdict == Verdict("card_arrival", 0.9)
    assert considered.found[0].passage == ARRIVAL
    assert considered.handed_over is None
    assert repr(desk).startswith("<Desk [ft:minilm:x:banking77:1; smollm2-135m; <KnowledgeBase [2 passages")


@pytest.mark.parametrize(
    ("question", "why"),
    [("pancakes", "I am not sure what you want"), ("card: xyz abc def ghi jkl", "nothing about it")],
)
def test_others_are_handed_over(desk: Desk, models: FakeModels, question: str, why: str) -> None:
    models.labels["xyz"] = ("fees", 0.95)
    considered = desk.consider(question, LIMITS)
    assert considered.handed_over is not None
    assert why in considered.handed_over


def test_an_answer_is_streamed_and_can_only_quote(desk: Desk, models: FakeModels) -> None:
    pieces = list(desk.answer("When does my card come?", ARRIVAL))
    assert pieces == ["Cards c", "ome by ", "post. T", "hey tak", "e five ", "days."]
    [order] = models.bodies("/v1/chat/completions")
    assert order["structured_outputs"] == {"choice": quotations(ARRIVAL)}
    assert (order["temperature"], order["stream"], order["max_tokens"]) == (0, True, 200)
    assert order["messages"][-1]["content"].endswith("Question: When does my card come?")


def test_two_or_three_sentences_in_a_row_may_be_quoted() -> None:
    assert quotations(ARRIVAL) == [
        "Cards come by post. They take five days.",
        "Cards come by post. They take five days. Ask us then.",
        "They take five days. Ask us then.",
    ]
    assert quotations(FEES) == ["Transfers cost nothing."]
    assert len(quotations(Passage("a", "One. Two. Three. Four. Five."))) == 7


@pytest.mark.parametrize("stream", ["stalls", "breaks"])
def test_an_answer_that_ends_early_is_an_error(models: FakeModels, tmp_path: Path, desk: Desk, stream: str) -> None:
    models.stream = stream
    with OpenAI(base_url=models.url, api_key="unused", max_retries=0, timeout=0.2) as client:
        impatient = Desk(client, models.url, desk.embedder, desk.knowledge, desk.classifier, "smollm2-135m")
        answer = impatient.answer("When does my card come?", ARRIVAL)
        assert next(answer) == "Cards c"
        with pytest.raises(OpenAIError):
            next(answer)


def test_a_burst_is_the_same_answer(desk: Desk, models: FakeModels) -> None:
    models.piece = 1000
    assert list(desk.answer("When does my card come?", ARRIVAL)) == ["Cards come by post. They take five days."]


def test_a_long_question_is_cut() -> None:
    assert read_question("  Where is\tmy card?\n") == ("Where is my card?", False)
    assert read_question("card") == ("card", False)
    question, cut = read_question("word " * 10_000)
    assert (len(question.split()), cut) == (100, True)
