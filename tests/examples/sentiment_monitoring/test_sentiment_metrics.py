from __future__ import annotations

import httpx

from examples.sentiment_monitoring.sentiment_metrics import Metrics
from examples.sentiment_monitoring.trends import Rule, Trend
from examples.texts import SENTIMENTS, TOPICS


def test_all_series_are_there_from_the_start() -> None:
    registry = Metrics().registry
    for topic in TOPICS:
        assert registry.get_sample_value("sentiment_alert", {"topic": topic}) == 0
        assert registry.get_sample_value("sentiment_shift_z", {"topic": topic}) == 0
        assert registry.get_sample_value("sentiment_negative_share", {"topic": topic, "window": "short"}) == 0
    for topic in (*TOPICS, "unsure"):
        labels = [{"topic": topic, "sentiment": sentiment} for sentiment in SENTIMENTS]
        assert [registry.get_sample_value("sentiment_texts_total", each) for each in labels] == [0, 0, 0]
    for outcome in ("delivered", "lost"):
        assert registry.get_sample_value("sentiment_webhook_messages_total", {"outcome": outcome}) == 0
    assert registry.get_sample_value("sentiment_gateway_retries_total") == 0


def test_a_topic_is_shown_as_it_is() -> None:
    metrics, trend = Metrics(), Trend(Rule(short=2, long=4, least=2, raise_at=1.0))
    for negative in (False, True, True, True):
        trend.add(negative)
    metrics.show("news", trend)
    value = metrics.registry.get_sample_value
    assert value("sentiment_negative_share", {"topic": "news", "window": "short"}) == 1
    assert value("sentiment_negative_share", {"topic": "news", "window": "long"}) == 0.5
    assert value("sentiment_shift_z", {"topic": "news"}) == trend.z
    assert value("sentiment_alert", {"topic": "news"}) == 1


def test_they_are_served_to_prometheus() -> None:
    metrics = Metrics()
    metrics.count("news", "negative")
    metrics.message("lost")
    with metrics.serving("127.0.0.1:0") as address:
        said = httpx.get(f"http://{address}/metrics").text
    assert 'sentiment_texts_total{sentiment="negative",topic="news"} 1.0' in said
    assert 'sentiment_webhook_messages_total{outcome="lost"} 1.0' in said
