"""The service desk: what a question is about, which help pages are near it, and an answer in their words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from examples.classifiers import Verdict
from examples.customer_service.handover import Limits, reason_to_hand_over
from examples.customer_service.intents import classify
from examples.customer_service.knowledge_base import Found, KnowledgeBase, Passage
from examples.vectors import Embedder

SHOWN = 3
"""How many passages are found for a question; the first is answered from, the others are named."""

LONGEST_QUESTION = 100
"""Words of a question that are read: classifier and embedder read 128 tokens."""

_FEWEST_SENTENCES, _MOST_SENTENCES = 2, 3
"""Of a quotation: a sentence alone may mislead, such as a rule whose exception is the next one."""

_MOST_TOKENS = 200

_TASK = "You answer customers of a bank. Answer the question with sentences of the help page."

_SHOTS = (
    (
        "The gym is open from 7 am to 10 pm on weekdays. At weekends it is open from 9 am to 6 pm. Towels cost £1.",
        "Is the gym open on Sundays?",
        "The gym is open from 7 am to 10 pm on weekdays. At weekends it is open from 9 am to 6 pm.",
    ),
    (
        "Do not leave bags alone. Found things are kept at the central station. Call 0800 123 to ask for yours.",
        "I forgot my bag in the bus",
        "Found things are kept at the central station. Call 0800 123 to ask for yours.",
    ),
)
"""Two examples show a small model what is wanted; about other things, so that it cannot take their facts for ours."""


@dataclass(frozen=True, slots=True)
class Considered:
    """What is known of a question before it is answered; ``handed_over`` says why it is not, else it is ``None``."""

    question: str
    verdict: Verdict
    found: list[Found]
    handed_over: str | None


class Desk:
    """Answers questions with three models of a gateway; ``url`` is that of OpenAI's API, with ``/v1``."""

    def __init__(
        self, client: OpenAI, url: str, embedder: Embedder, knowledge: KnowledgeBase, classifier: str, chat: str
    ) -> None:
        self._client = client
        self._url = url
        self.embedder = embedder
        self.knowledge = knowledge
        self.classifier = classifier
        self._chat = chat

    def __repr__(self) -> str:
        return f"<Desk [{self.classifier}; {self._chat}; {self.knowledge}]>"

    def look_up(self, questions: Sequence[str], *, keep: bool = False) -> list[tuple[Verdict, list[Found]]]:
        """Find intents and passages of questions; with ``keep`` their vectors are kept for the next time.

        Raises ``openai.OpenAIError`` and ``httpx.HTTPError``.
        """
        verdicts = classify(self._url, self._client.api_key, self.classifier, questions)
        vectors = self.embedder.embed(questions, keep=keep)
        return [
            (verdict, self.knowledge.nearest(vector, verdict.label, verdict.probability, SHOWN))
            for verdict, vector in zip(verdicts, vectors, strict=True)
        ]

    def consider(self, question: str, limits: Limits) -> Considered:
        """Decide whether a question can be answered, and from what."""
        [(verdict, found)] = self.look_up([question])
        return Considered(question, verdict, found, reason_to_hand_over(verdict, found[0], limits))

    def answer(self, question: str, passage: Passage) -> Iterator[str]:
        """Stream an answer that consists of sentences of the passage, two or three in a row.

        The model may say nothing else (vLLM's structured outputs): one of 135 million parameters makes up fees and
        deadlines when it may write what it likes, and a bank must stand by what it says.
        """
        stream = self._client.chat.completions.create(
            model=self._chat,
            messages=_messages(question, passage),
            temperature=0,
            max_tokens=_MOST_TOKENS,
            stream=True,
            extra_body={"structured_outputs": {"choice": quotations(passage)}},
        )
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


def quotations(passage: Passage) -> list[str]:
    """Give all that may be quoted of a passage: two or three sentences in a row, or all where there are fewer."""
    sentences = passage.sentences
    fewest = min(_FEWEST_SENTENCES, len(sentences))
    return [
        " ".join(sentences[start : start + count])
        for start in range(len(sentences))
        for count in range(fewest, _MOST_SENTENCES + 1)
        if start + count <= len(sentences)
    ]


def read_question(line: str) -> tuple[str, bool]:
    """Return a question without needless blanks and of at most a hundred words, and whether it was cut."""
    words = line.split()
    return " ".join(words[:LONGEST_QUESTION]), len(words) > LONGEST_QUESTION


def _messages(question: str, passage: Passage) -> list[ChatCompletionMessageParam]:
    messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": _TASK}]
    for page, asked, answer in _SHOTS:
        messages.append({"role": "user", "content": f"Help page: {page}\n\nQuestion: {asked}"})
        messages.append({"role": "assistant", "content": answer})
    messages.append({"role": "user", "content": f"Help page: {passage.embedded}\n\nQuestion: {question}"})
    return messages
