"""Of a conversation the answers are learnt, with the marks that end them, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engines.train.chat.conversations import spans_of, tokens_of
from engines.train.errors import JobError
from engines.train.examples import Message
from tests.engines.train.tiny_models import needed, write_chat_model

CHAT = (
    Message("user", "the film", False),
    Message("assistant", "good", False),
    Message("user", "the plot", False),
    Message("assistant", "bad actor", True),
)


def render(messages: Sequence[Message], asks: bool) -> str:
    return "".join(f"<{each.role}>{each.content}</>" for each in messages) + ("<assistant>" if asks else "")


def test_the_spans_are_those_of_the_trained_answers() -> None:
    text, spans = spans_of(CHAT, render)
    assert [text[start:end] for start, end in spans] == ["bad actor</>"]
    _, both = spans_of((CHAT[0], CHAT[1]._replace(trained=True), *CHAT[2:]), render)
    assert [text[start:end] for start, end in both] == ["good</>", "bad actor</>"]


def test_a_template_that_changes_what_was_is_refused() -> None:
    def forgetful(messages: Sequence[Message], asks: bool) -> str:
        return f"{len(messages)} {render(messages, asks)}"

    with pytest.raises(JobError, match="writes the beginning of a conversation differently"):
        spans_of(CHAT, forgetful)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    needed()
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(write_chat_model(tmp_path_factory.mktemp("models") / "chat"))


@pytest.mark.slow
def test_tokens_know_whether_they_are_learnt(tokenizer: Any) -> None:
    [tokens], left_out = tokens_of([CHAT], tokenizer, 100)
    learnt = [number for number, learnt in zip(tokens.ids, tokens.learnt, strict=True) if learnt]
    assert "<|im_end|>" in tokenizer.decode(learnt)
    assert "plot" not in tokenizer.decode(learnt)
    assert "bad" in tokenizer.decode(learnt)
    assert left_out == 0


@pytest.mark.slow
def test_what_is_too_long_is_cut_and_left_out_without_an_answer(tokenizer: Any, tmp_path: Path) -> None:
    long = (Message("user", "the " * 50, False), CHAT[3])
    found, left_out = tokens_of([CHAT, long], tokenizer, 40)
    assert (len(found), left_out) == (1, 1)
