"""Which texts of a file to label next, as a gateway's classifier and embedder see them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from loadtest.labelled import Example
from loadtest.served_models import ServedModels


class Suggestion(msgspec.Struct, frozen=True, omit_defaults=True):
    """A text that is worth labelling: its line, and what the classifier says of it, if there is one."""

    line: int
    text: str
    predicted: str | None = None
    uncertainty: float | None = None


async def suggest(
    models: ServedModels, model: str | None, embedder: str, examples: Sequence[Example], count: int
) -> list[Suggestion]:
    """Choose ``count`` texts, the most worth labelling first. Raises ``AskError``.

    Without a ``model``, because there is no classifier yet, texts are chosen to be unlike each other.
    """
    texts = [example.text for example in examples]
    classified = None if model is None else await models.classes(model, texts)
    probs = None if classified is None else [each.probs for each in classified]
    return [
        Suggestion(
            examples[choice.index].line,
            texts[choice.index],
            None if classified is None else classified[choice.index].label,
            choice.uncertainty,
        )
        for choice in await models.choices(embedder, texts, probs, count)
    ]
