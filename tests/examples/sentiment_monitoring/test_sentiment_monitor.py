from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Event
from typing import Any

import pytest

from examples.sentiment_monitoring.sentiment_metrics import Metrics
from examples.sentiment_monitoring.sentiment_monitor import Monitor, message, watch
from examples.sentiment_monitoring.stream_labels import Labels, StreamLabels
from examples.sentiment_monitoring.text_streams import Backlog
from examples.sentiment_monitoring.trends import Change, Rule, Trend

LONG = 60.0
"""Seconds; nothing waits for so long unless it is broken."""


class Spoken(StreamLabels):
    """Takes the labels from the texts themselves."""

    def __init__(self) -> None:
        pass

    def label(self, texts: Sequence[str]) -> list[Labels]:
        return [(topic, sentiment) for topic, _, sentiment in (text.partition(" ") for text in texts)]


def observed(*texts: str) -> tuple[Monitor, Metrics, list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    metrics = Metrics()
    monitor = Monitor(metrics, told.append)
    for text in texts:
        topic, _, sentiment = text.partition(" ")
        monitor.observe(f"{text} {monitor.texts}", topic, sentiment)
    return monitor, metrics, told


def test_a_topic_that_turns_negative_is_told_once_with_examples() -> None:
    usual = ["products positive", "news negative", "products negative", "products positive"] * 200
    monitor, metrics, told = observed(*usual, *["products negative"] * 60)
    (alert,) = told
    assert (alert["topic"], alert["state"]) == ("products", "raised")
    assert alert["text"].startswith("Negative texts have jumped: products, ")
    assert alert["negative_share"] > alert["negative_share_before"] + 0.1
    assert alert["z"] >= 3.5
    assert len(alert["negative_examples"]) == 3
    assert all(each.startswith("products negative") for each in alert["negative_examples"])
    assert metrics.registry.get_sample_value("sentiment_alert", {"topic": "products"}) == 1
    assert metrics.registry.get_sample_value("sentiment_alert", {"topic": "news"}) == 0
    assert repr(monitor).startswith("<Monitor 860 texts; negative of the last ones: films 0%, products ")


def test_texts_of_no_sure_topic_are_counted_and_raise_nothing() -> None:
    _, metrics, told = observed(*["unsure positive"] * 400, *["unsure negative"] * 200)
    assert told == []
    counted = metrics.registry.get_sample_value
    assert counted("sentiment_texts_total", {"topic": "unsure", "sentiment": "negative"}) == 200


def test_an_alert_and_its_end_are_said_in_a_sentence() -> None:
    trend = Trend(Rule(short=2, long=4, least=2))
    for negative in (False, False, False, True, True, True):
        trend.add(negative)
    raised = message("news", trend, Change.RAISED, ["Bad."])
    assert raised["text"] == "Negative texts have jumped: news, 100% of the last 2 texts, 25% of the 4 before."
    assert raised["negative_examples"] == ["Bad."]
    cleared = message("news", trend, Change.CLEARED, [])
    assert cleared["text"].startswith("Negative texts no longer jump: news, 100% of ")


def test_a_stream_is_watched_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics()
    monitor = Monitor(metrics, lambda alert: None)
    watch(Backlog(["news negative"] * 70), Spoken(), monitor, metrics, LONG)
    assert monitor.texts == 70
    assert "the stream has ended: 70 texts" in capsys.readouterr().out


def test_a_stream_that_stalls_is_said_ever_more_rarely(capsys: pytest.CaptureFixture[str]) -> None:
    stalled = Event()

    class Heard(Metrics):
        """Lets the stream go on once its silence was told twice."""

    def stalling() -> Iterator[str]:
        yield "news negative"
        stalled.wait(LONG)
        yield "news positive"

    metrics = Heard()
    monitor = Monitor(metrics, lambda alert: None)
    backlog = Backlog(stalling())
    waited: list[float] = []
    take = backlog.take

    def taking(at_most: int, seconds: float) -> Sequence[str] | None:
        texts = take(at_most, LONG if stalled.is_set() or not monitor.texts else 0.0)
        if texts == []:
            waited.append(seconds)
            if len(waited) == 3:
                stalled.set()
        return texts

    backlog.take = taking  # type: ignore[method-assign]
    watch(backlog, Spoken(), monitor, metrics, 10)
    assert waited == [10, 10, 20]
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == ["no texts for 10 s", "no texts for 20 s", "no texts for 40 s"]
    assert monitor.texts == 2
