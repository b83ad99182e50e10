"""A knowledge base is read line by line, and searched by similarity and by what a question is about."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from examples.customer_service.intents import TRAIN, read_questions
from examples.customer_service.knowledge_base import BANK_HELP, KnowledgeBase, KnowledgeError, Passage, read_passages

CARDS = Passage("Cards", "Cards come by post. They are free.", ("card_arrival",))
FEES = Passage("Fees", "Transfers cost nothing.", ("fees",))


def test_the_banks_own_pages_are_about_every_intent() -> None:
    passages = read_passages(BANK_HELP)
    about = {intent for passage in passages for intent in passage.intents}
    assert about == {question.intent for question in read_questions(TRAIN)}
    assert len({passage.title for passage in passages}) == len(passages) == 89


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("nonsense", ":2: no JSON"),
        ("[]", ":2: expected an object with title and text"),
        ('{"title": "a"}', ":2: text: expected a text that is not empty"),
        ('{"title": " ", "text": "a"}', ":2: title: expected a text that is not empty"),
        ('{"title": "a", "text": "a", "intents": "b"}', ":2: intents: expected a list of texts"),
    ],
)
def test_a_mistake_is_told_by_its_line(tmp_path: Path, line: str, wrong: str) -> None:
    file = tmp_path / "help.jsonl"
    file.write_text(f'{{"title": "a", "text": "b"}}\n{line}\n')
    with pytest.raises(KnowledgeError, match=wrong):
        read_passages(file)


def test_only_a_line_end_ends_a_passage(tmp_path: Path) -> None:
    file = tmp_path / "pages.jsonl"
    file.write_text('{"title": "a", "text": "one\u2028two"}\n', encoding="utf-8")
    assert [passage.text for passage in read_passages(file)] == ["one two"]


def test_an_empty_knowledge_base_and_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff")
    with pytest.raises(KnowledgeError, match=r"empty\.jsonl has no passages; expected a line"):
        read_passages(tmp_path / "empty.jsonl")
    for name in ("bytes", "none"):
        with pytest.raises(KnowledgeError, match=rf"{name}\.jsonl cannot be read"):
            read_passages(tmp_path / f"{name}.jsonl")


def test_a_long_text_becomes_passages_of_whole_sentences(tmp_path: Path) -> None:
    text = " ".join(f"This is the sentence with the number {number}." for number in range(30))
    file = tmp_path / "help.jsonl"
    file.write_text(json.dumps({"title": "Long", "text": text, "intents": ["long"]}) + "\n")
    passages = read_passages(file)
    assert " ".join(passage.text for passage in passages) == text
    assert all(len(passage.text.split()) <= 80 and passage.text.endswith(".") for passage in passages)
    assert {(passage.title, passage.intents) for passage in passages} == {("Long", ("long",))}


def test_a_sentence_without_end_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "help.jsonl"
    file.write_text(json.dumps({"title": "Endless", "text": "and " * 10_000}) + "\n")
    assert [len(passage.text.split()) for passage in read_passages(file)] == [80] * 125


def test_the_most_similar_passage_comes_first() -> None:
    knowledge = KnowledgeBase([CARDS, FEES], np.eye(2, dtype=np.float32))
    found = knowledge.nearest(np.array([0.6, 0.8], np.float32), "other", 1.0, count=5)
    assert [(each.passage.title, round(each.similarity, 3)) for each in found] == [("Fees", 0.8), ("Cards", 0.6)]


def test_a_passage_about_the_intent_comes_first_if_that_is_probable() -> None:
    knowledge = KnowledgeBase([CARDS, FEES], np.eye(2, dtype=np.float32))
    vector = np.array([0.6, 0.8], np.float32)
    sure, unsure = (knowledge.nearest(vector, "card_arrival", share, count=1)[0] for share in (0.9, 0.2))
    assert (sure.passage, round(sure.similarity, 3)) == (CARDS, 0.6)
    assert unsure.passage == FEES
    assert repr(knowledge) == "<KnowledgeBase [2 passages, 2 intents]>"


def test_a_hundred_thousand_passages_are_searched() -> None:
    vectors = np.random.default_rng(1).normal(size=(100_000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    passages = [Passage(str(number), "a") for number in range(100_000)]
    found = KnowledgeBase(passages, vectors).nearest(vectors[77_777], "x", 1.0, count=3)
    assert found[0].passage.title == "77777"
