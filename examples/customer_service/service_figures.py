"""How well the service desk does on questions that nothing was chosen with: figures, and a picture of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.classifiers import Verdict
from examples.customer_service.handover import Limits, reason_to_hand_over
from examples.customer_service.intents import Question
from examples.customer_service.knowledge_base import Found
from examples.customer_service.service_desk import SHOWN, Desk
from loadtest.svg.line_chart import Line, line_chart

OFF_TOPIC = Path(__file__).parent.parent / "data" / "off_topic.txt"

_POINTS = 100
_FEWEST_SHOWN = 0.2
"""Curves begin where so many questions are answered: shares of very few jump."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with what the desk makes of it: its intent is right, its passages are about the intent."""

    probability: float
    right: bool
    answered: bool
    passages: list[bool]
    unaided: list[bool]
    """The same of the passages that similarity alone finds, without the classifier."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured: each question, and of questions that are none for a bank how many were not answered."""

    asked: list[Asked]
    off_topic: int
    off_topic_handed_over: int
    limits: Limits


def measure(desk: Desk, questions: Sequence[Question], limits: Limits) -> Figures:
    """Ask the desk all questions, and those that are none for a bank. Nothing is generated."""
    texts = [question.text for question in questions]
    looked_up = desk.look_up(texts, keep=True)
    vectors = desk.embedder.embed(texts)
    asked = [
        Asked(
            verdict.probability,
            verdict.label == question.intent,
            reason_to_hand_over(verdict, found[0], limits) is None,
            _about(found, question.intent),
            _about(desk.knowledge.nearest(vector, "", 0.0, SHOWN), question.intent),
        )
        for question, (verdict, found), vector in zip(questions, looked_up, vectors, strict=True)
    ]
    others = desk.look_up(OFF_TOPIC.read_text(encoding="utf-8").splitlines())
    return Figures(asked, len(others), sum(_handed_over(verdict, found, limits) for verdict, found in others), limits)


def table(figures: Figures) -> str:
    """Write the figures as tables in Markdown."""
    asked = figures.asked
    answered = [each for each in asked if each.answered]
    rows = [
        ("intent is right", _share([each.right for each in asked])),
        ("a right page is the first", _share([each.passages[0] for each in asked])),
        (f"a right page is among the first {SHOWN}", _share([any(each.passages) for each in asked])),
        ("a right page is the first, by similarity alone", _share([each.unaided[0] for each in asked])),
        (
            f"a right page is among the first {SHOWN}, by similarity alone",
            _share([any(each.unaided) for each in asked]),
        ),
        ("**answered**", _share([each.answered for each in asked])),
        ("intent is right, of those answered", _share([each.right for each in answered])),
        ("answered from a right page, of those answered", _share([each.passages[0] for each in answered])),
        ("handed over", _share([not each.answered for each in asked])),
        ("intent was right, of those handed over", _share([each.right for each in asked if not each.answered])),
    ]
    limits = figures.limits
    return "\n".join(
        [
            f"Limits: a probability of {limits.probability:.3f}, a similarity of {limits.similarity:.3f}",
            "",
            f"| {len(asked):,} test questions | |",
            "|---|--:|",
            *(f"| {name} | {value} |" for name, value in rows),
            "",
            f"Of {figures.off_topic} questions that no bank answers, {figures.off_topic_handed_over} are handed over.",
        ]
    )


def picture(figures: Figures) -> str:
    """Draw, for each limit that could be set, how many questions are answered and how many of these wrongly, as SVG."""
    ranked = sorted(figures.asked, key=lambda each: -each.probability)
    lines = [
        Line("the intent is wrong", _wrong([each.right for each in ranked])),
        Line("answered from a wrong page", _wrong([each.passages[0] for each in ranked])),
    ]
    within = sum(each.probability >= figures.limits.probability for each in ranked)
    chosen = 100 * within / len(ranked)
    most = max(share for line in lines for _, share in line.points)
    lines.append(Line("the limit that was chosen", [(chosen, 0.0), (chosen, most)], guide=True))
    drawing = line_chart(
        "The fewer questions are answered, the fewer wrongly",
        lines,
        x="questions that are answered, in %, the surest first",
        y="of those answered, in %",
    )
    return drawing.file()


def _wrong(right: Sequence[bool]) -> list[tuple[float, float]]:
    """Give how many percent are answered, and how many percent of these wrongly, for each limit worth showing."""
    step = max(1, len(right) // _POINTS)
    first = max(1, round(len(right) * _FEWEST_SHOWN))
    counts = [*range(first, len(right), step), len(right)]
    return [(100 * count / len(right), 100 - 100 * sum(right[:count]) / count) for count in counts]


def _about(found: Sequence[Found], intent: str) -> list[bool]:
    """Tell of each passage whether it is labelled with an intent."""
    return [intent in each.passage.intents for each in found]


def _handed_over(verdict: Verdict, found: Sequence[Found], limits: Limits) -> bool:
    return reason_to_hand_over(verdict, found[0], limits) is not None


def _share(which: Sequence[bool]) -> str:
    """Write which share is true; of nothing, a dash."""
    return f"{sum(which) / len(which):.1%} ({sum(which):,})" if which else "-"
