from __future__ import annotations

from itertools import islice

from examples.sentiment_monitoring.alert_quality import BEFORE, accuracies, delay, false_alarms, measure, picture
from examples.sentiment_monitoring.text_streams import Shift, simulated
from examples.texts import TOPICS, RatedText

TEXTS = [
    RatedText(topic, str(number), -2.0 if number < 3 else 2.0, f"{topic} {number}")
    for topic in TOPICS
    for number in range(10)
]
RIGHT = {each: (each.topic, each.sentiment) for each in TEXTS}
BLIND = {each: (each.topic, "positive") for each in TEXTS}


def test_accuracies_are_counted_for_each_topic_and_for_all() -> None:
    wrong = RIGHT | {each: ("news", "negative") for each in TEXTS if each.text == "films 9"}
    rows = accuracies(TEXTS, wrong)
    assert "| films | 10 | 90.0% | 90.0% | 100.0% | 14.3% |" in rows
    assert "| news | 10 | 100.0% | 100.0% | 100.0% | 0.0% |" in rows
    assert "| all | 40 | 97.5% | 97.5% | 100.0% | 3.6% |" in rows


def test_the_delay_counts_the_texts_of_the_topic_since_the_shift() -> None:
    waited = delay(TEXTS, RIGHT, 0.4, "news", 1)
    assert waited is not None
    assert 20 < waited < 100  # Of a short window of 100 texts.
    larger = delay(TEXTS, RIGHT, 0.7, "news", 1)
    assert larger is not None
    assert larger < waited


def test_what_classifiers_do_not_see_raises_no_alert() -> None:
    assert delay(TEXTS, BLIND, 0.7, "news", 1) is None


def test_alerts_of_a_quiet_stream_are_false_alarms() -> None:
    assert false_alarms(islice(simulated(TEXTS, 1), 4000), BLIND) == 0
    shifted = islice(simulated(TEXTS, 1, Shift("news", BEFORE, 1.0)), 2 * BEFORE)
    assert false_alarms(shifted, RIGHT) >= 1


def test_a_measurement_says_what_was_measured() -> None:
    said = "\n".join(measure(TEXTS, RIGHT, seeds=4))
    assert "false alarms in 4 streams of 12,000 texts in which nothing happens" in said
    assert "| 40% | 100.0% |" in said


def test_where_no_alert_comes_there_is_no_delay() -> None:
    assert "| 40% | 0.0% |  |  |" in measure(TEXTS, BLIND, seeds=4)


def test_the_picture_has_each_topic_the_shift_and_the_alert() -> None:
    drawn = picture(TEXTS, RIGHT, Shift("news", BEFORE, 0.9), 2 * BEFORE, 1).file()
    for name in (*TOPICS, "shift", "alert"):
        assert f">{name}</t" in drawn
