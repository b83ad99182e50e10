"""Conversations as tokens, and which of them are learnt: those of the assistant's answers with their end marks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from engines.train.errors import JobError
from engines.train.examples import Chat, Message

LONGEST = 1024
"""Tokens of a conversation at most; what is longer is cut at its end."""


class Tokens(NamedTuple):
    """A conversation: its token ids, and for each whether it is learnt."""

    ids: list[int]
    learnt: list[bool]


def tokens_of(chats: Sequence[Chat], tokenizer: Any, longest: int) -> tuple[list[Tokens], int]:
    """Give the tokens of conversations, and how many were left out because no learnt token is within ``longest``."""
    found = [_tokens(chat, tokenizer, longest) for chat in chats]
    kept = [each for each in found if any(each.learnt)]
    return kept, len(found) - len(kept)


def spans_of(chat: Chat, render: Callable[[Sequence[Message], bool], str]) -> tuple[str, list[tuple[int, int]]]:
    """Give a conversation as text, and from where to where its learnt answers go, with the marks that end them.

    ``render`` writes messages by the template, with what asks for an answer after them if its second argument is true.
    Raises ``JobError`` where the template writes a conversation's beginning differently when it goes on.
    """
    text = render(chat, False)
    spans = []
    for at, message in enumerate(chat):
        if not message.trained:
            continue
        before, after = render(chat[:at], True), render(chat[: at + 1], False)
        if not after.startswith(before) or not text.startswith(after):
            raise JobError(
                "invalid_model",
                "The base model's chat template writes the beginning of a conversation differently when it goes on, "
                "so that the tokens of its answers cannot be told apart; expected one that only appends.",
                "model",
            )
        spans.append((len(before), len(after)))
    return text, spans


def _tokens(chat: Chat, tokenizer: Any, longest: int) -> Tokens:
    def render(messages: Sequence[Message], asks: bool) -> str:
        plain = [{"role": each.role, "content": each.content} for each in messages]
        text: str = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=asks)
        return text

    text, spans = spans_of(chat, render)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    learnt = [any(start <= begin and end <= stop for start, stop in spans) for begin, end in encoded["offset_mapping"]]
    return Tokens(encoded["input_ids"][:longest], learnt[:longest])
