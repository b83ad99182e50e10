"""The figures count what the desk makes of questions, and the picture shows what other limits would give."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from openai import OpenAI

from examples.customer_service.handover import Limits
from examples.customer_service.intents import Question
from examples.customer_service.knowledge_base import KnowledgeBase, Passage
from examples.customer_service.service_desk import Desk
from examples.customer_service.service_figures import Asked, Figures, measure, picture, table
from examples.vectors import Embedder
from tests.examples.fake_models import FakeModels

ARRIVAL = Passage("My card is late", "Cards come by post.", ("card_arrival",))
FEES = Passage("Fees", "Transfers cost nothing.", ("fees",))


@pytest.fixture
def figures(models: FakeModels, client: OpenAI, tmp_path: Path) -> Figures:
    embedder = Embedder(client, "minilm", tmp_path / "vectors.npz")
    knowledge = KnowledgeBase([ARRIVAL, FEES], embedder.embed([ARRIVAL.embedded, FEES.embedded]))
    models.labels = {"card": ("card_arrival", 0.9), "pay": ("fees", 0.8), "hm": ("fees", 0.3)}
    desk = Desk(client, models.url, embedder, knowledge, "ft:minilm:x:banking77:1", "smollm2-135m")
    questions = [
        Question("When does my card come?", "card_arrival"),
        Question("Must I pay for post?", "fees"),
        Question("card?", "fees"),
        Question("hm", "fees"),
    ]
    return measure(desk, questions, Limits(0.6, 0.0))


def test_each_question_is_judged(figures: Figures) -> None:
    assert [(each.right, each.answered, each.passages[0]) for each in figures.asked] == [
        (True, True, True),
        (True, True, True),
        (False, True, False),
        (True, False, True),
    ]
    assert figures.asked[1].unaided[0] is False
    assert figures.off_topic == 60


def test_the_table_says_what_share_is_answered_and_how_well(figures: Figures) -> None:
    lines = table(figures).splitlines()
    assert "| intent is right | 75.0% (3) |" in lines
    assert "| **answered** | 75.0% (3) |" in lines
    assert "| intent is right, of those answered | 66.7% (2) |" in lines
    assert "| handed over | 25.0% (1) |" in lines
    assert lines[-1].startswith("Of 60 questions that no bank answers, ")


def test_where_all_is_answered_nothing_is_said_of_the_rest() -> None:
    asked = [Asked(0.9, right=True, answered=True, passages=[True], unaided=[True])]
    assert "| intent was right, of those handed over | - |" in table(Figures(asked, 0, 0, Limits(0.5, 0.1)))


def test_the_picture_is_an_svg_with_both_curves(figures: Figures) -> None:
    drawn = picture(figures)
    assert ET.fromstring(drawn).tag.endswith("svg")
    assert "the intent is wrong" in drawn
    assert "the limit that was chosen" in drawn
