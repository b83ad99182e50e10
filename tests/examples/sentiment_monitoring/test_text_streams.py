from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from threading import Event

import pytest

from examples.sentiment_monitoring.text_streams import Backlog, Shift, StreamFailed, paced, read_lines, simulated
from examples.texts import TOPICS, RatedText

LONG = 60.0
"""Seconds; nothing waits for so long unless it is broken."""

TEXTS = [
    RatedText(topic, str(number), -2.0 if number < 2 else 2.0, f"{topic} {number}")
    for topic in TOPICS
    for number in range(10)
]


def negative_share(texts: list[RatedText], topic: str) -> float:
    chosen = [each.sentiment == "negative" for each in texts if each.topic == topic]
    return sum(chosen) / len(chosen)


def test_a_simulated_stream_has_the_topics_alike_and_the_shares_of_its_texts() -> None:
    texts = list(islice(simulated(TEXTS, 1), 8000))
    assert all(abs(sum(each.topic == topic for each in texts) - 2000) < 200 for topic in TOPICS)
    assert all(abs(negative_share(texts, topic) - 0.2) < 0.05 for topic in TOPICS)


def test_a_shift_begins_where_it_is_planted_and_in_one_topic_only() -> None:
    shift = Shift("news", after=4000, share=0.8)
    texts = list(islice(simulated(TEXTS, 1, shift), 8000))
    assert texts[:4000] == list(islice(simulated(TEXTS, 1), 4000))
    assert abs(negative_share(texts[4000:], "news") - 0.8) < 0.05
    assert abs(negative_share(texts[4000:], "films") - 0.2) < 0.05


def test_a_seed_gives_the_same_stream_again() -> None:
    assert list(islice(simulated(TEXTS, 3), 50)) == list(islice(simulated(TEXTS, 3), 50))
    assert list(islice(simulated(TEXTS, 3), 50)) != list(islice(simulated(TEXTS, 4), 50))


def test_a_pace_leaves_out_nothing() -> None:
    assert list(paced(["a", "b", "c"], 1e6)) == ["a", "b", "c"]


def test_lines_are_texts_or_objects_with_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["Plain.\n", "\n", '{"text": " In JSON. ", "id": 3}\n', "no", '{"text": 7}\n', '{"text": "cut\n', "last"]
    assert list(read_lines(lines)) == ["Plain.", "In JSON.", "no", "last"]
    said = capsys.readouterr().err.splitlines()
    assert said[0] == 'line 5 is passed over: expected {"text": "…"}, but text is 7'
    assert said[1].startswith("line 6 is passed over: it begins as JSON does, but Unterminated string")


def test_a_backlog_gives_what_is_there_and_then_the_end() -> None:
    backlog = Backlog(["a", "b", "c"])
    taken: list[str] = []
    while (texts := backlog.take(2, LONG)) is not None:
        assert 1 <= len(texts) <= 2
        taken += texts
    assert taken == ["a", "b", "c"]
    assert backlog.take(2, LONG) is None


def test_a_stream_that_stalls_gives_nothing_and_goes_on() -> None:
    more = Event()

    def stalling() -> Iterator[str]:
        yield "a"
        more.wait(LONG)
        yield "b"

    backlog = Backlog(stalling())
    assert backlog.take(5, LONG) == ["a"]
    assert backlog.take(5, 0.01) == []
    more.set()
    assert backlog.take(5, LONG) == ["b"]
    assert backlog.take(5, LONG) is None


def test_a_stream_that_bursts_is_not_read_on_while_the_backlog_is_full() -> None:
    read: list[int] = []
    tenth = Event()

    def bursting() -> Iterator[str]:
        for number in range(1000):
            read.append(number)
            if len(read) == 10:
                tenth.set()
            yield str(number)

    backlog = Backlog(bursting(), size=9)
    assert tenth.wait(LONG)
    # Nine wait and the tenth finds no room; that no other is read holds at any time later.
    assert len(read) == 10
    assert repr(backlog) == "<Backlog 9 texts>"
    taken: list[str] = []
    while (texts := backlog.take(50, LONG)) is not None:
        taken += texts
    assert taken == [str(number) for number in range(1000)]


def test_a_stream_that_breaks_is_said_after_what_came_before() -> None:
    def breaking() -> Iterator[str]:
        yield "a"
        raise OSError("the disk is gone")

    backlog = Backlog(breaking())
    assert backlog.take(5, LONG) == ["a"]
    with pytest.raises(StreamFailed, match="the disk is gone"):
        backlog.take(5, LONG)
