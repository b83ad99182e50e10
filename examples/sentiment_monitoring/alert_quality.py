"""Measures the monitor on texts that its classifiers have not learnt from: accuracy, delay of alerts, false alarms.

Each text is classified once. Streams are then drawn from the texts with their answers, one for each seed, so that
thousands of alerts cost no more requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from statistics import median, quantiles

from examples.sentiment_monitoring.stream_labels import Labels
from examples.sentiment_monitoring.text_streams import Shift, simulated
from examples.sentiment_monitoring.trends import Change, Trend
from examples.texts import TOPICS, RatedText
from loadtest.svg.drawing import Drawing
from loadtest.svg.line_chart import Line, line_chart

SEEDS = 200
QUIET_TEXTS = 12_000
"""Texts of a stream in which nothing happens."""

BEFORE = 3_000
"""Texts before a shift, and as many as follow it at most."""

RISES = (0.2, 0.3, 0.4)
"""By how much a topic's negative share rises."""

Answers = Mapping[RatedText, Labels]


def measure(texts: Sequence[RatedText], answers: Answers, seeds: int) -> list[str]:
    """Write what comes out, line by line, as tables in Markdown."""
    lines = [*accuracies(texts, answers), ""]
    quiet = [false_alarms(islice(simulated(texts, seed), QUIET_TEXTS), answers) for seed in range(seeds)]
    alarms, seen = sum(quiet), seeds * QUIET_TEXTS
    lines += [f"{alarms} false alarms in {seeds} streams of {QUIET_TEXTS:,} texts in which nothing happens,"]
    lines += [f"{1e4 * alarms / seen:.2f} in 10,000 texts", ""]
    lines += [
        "| negative share rises by | alerts | texts of the topic until the alert: median | p90 |",
        "|---|--:|--:|--:|",
    ]
    for rise in RISES:
        delays = [delay(texts, answers, rise, TOPICS[seed % len(TOPICS)], seeds + seed) for seed in range(seeds)]
        raised = [each for each in delays if each is not None]
        middle, tail = (f"{median(raised):.0f}", f"{quantiles(raised, n=10)[-1]:.0f}") if len(raised) > 1 else ("", "")
        lines.append(f"| {rise:.0%} | {len(raised) / seeds:.1%} | {middle} | {tail} |")
    return lines


def accuracies(texts: Sequence[RatedText], answers: Answers) -> list[str]:
    """Write how often topics and sentiments are right, and what is taken for negative."""
    lines = ["| texts of | | topic right | sentiment right | negative found | others taken for negative |"]
    lines += ["|---|--:|--:|--:|--:|--:|"]
    for name in (*TOPICS, "all"):
        chosen = [each for each in texts if name in (each.topic, "all")]
        negative = [each for each in chosen if each.sentiment == "negative"]
        others = [each for each in chosen if each.sentiment != "negative"]
        shares = (
            share(answers[each][0] == each.topic for each in chosen),
            share(answers[each][1] == each.sentiment for each in chosen),
            share(answers[each][1] == "negative" for each in negative),
            share(answers[each][1] == "negative" for each in others),
        )
        lines.append(f"| {name} | {len(chosen):,} | " + " | ".join(f"{each:.1%}" for each in shares) + " |")
    return lines


def replayed(stream: Iterable[RatedText], answers: Answers) -> Iterator[tuple[RatedText, str, Trend, Change | None]]:
    """Yield for each text of a stream the topic that it is taken for, and what it does to the trend of that."""
    trends = {topic: Trend() for topic in TOPICS}
    for text in stream:
        topic, sentiment = answers[text]
        if topic in trends:
            yield text, topic, trends[topic], trends[topic].add(sentiment == "negative")


def false_alarms(stream: Iterable[RatedText], answers: Answers) -> int:
    """Count the alerts of a stream in which nothing happens."""
    return sum(change is Change.RAISED for _, _, _, change in replayed(stream, answers))


def delay(texts: Sequence[RatedText], answers: Answers, rise: float, topic: str, seed: int) -> int | None:
    """Count the texts of a topic from a shift in it to its alert; ``None`` without an alert."""
    usual = share(each.sentiment == "negative" for each in texts if each.topic == topic)
    stream = islice(simulated(texts, seed, Shift(topic, BEFORE, usual + rise)), 2 * BEFORE)
    since = 0
    for number, (text, taken_for, _, change) in enumerate(replayed(stream, answers)):
        since += number >= BEFORE and text.topic == topic
        if number >= BEFORE and taken_for == topic and change is Change.RAISED:
            return since
    return None


def share(those: Iterable[bool]) -> float:
    """Compute the share of those that are true, 0 to 1."""
    listed = list(those)
    return sum(listed) / len(listed)


def picture(texts: Sequence[RatedText], answers: Answers, shift: Shift, length: int, seed: int) -> Drawing:
    """Draw the negative share of each topic in one stream, the shift that was planted, and the alert."""
    courses: dict[str, list[tuple[float, float]]] = {topic: [] for topic in TOPICS}
    marks: list[Line] = []
    stream = islice(simulated(texts, seed, shift), length)
    for number, (_, topic, trend, change) in enumerate(replayed(stream, answers)):
        if len(trend.short) == trend.rule.short:
            courses[topic].append((number, trend.short.share))
        if change is Change.RAISED:
            marks.append(Line("alert", [(number, trend.short.share)]))
    lines = [Line(topic, course[::4]) for topic, course in courses.items()]
    planted = Line("shift", [(shift.after, 0.0), (shift.after, 1.0)], guide=True)
    return line_chart(
        f"Negative share of the last {Trend().rule.short} texts of each topic: {shift.topic} shift",
        [*lines, *marks, planted],
        x="texts of the stream",
        y="negative share",
        whole_share=True,
    )
