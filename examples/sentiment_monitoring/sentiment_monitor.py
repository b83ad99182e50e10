"""Keeps the trends of a stream of texts, and tells when one of them jumps."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from examples.sentiment_monitoring.sentiment_metrics import Metrics
from examples.sentiment_monitoring.stream_labels import StreamLabels
from examples.sentiment_monitoring.text_streams import Backlog
from examples.sentiment_monitoring.trends import Change, Trend
from examples.texts import TOPICS

BATCH = 32
"""Texts that are classified together."""

_TOLD_SECONDS = 5.0


class Monitor:
    """The trends of all topics; what changes in them goes to ``tell``."""

    def __init__(self, metrics: Metrics, tell: Callable[[dict[str, Any]], None]) -> None:
        self.trends = {topic: Trend() for topic in TOPICS}
        self.texts = 0
        self._metrics = metrics
        self._tell = tell
        self._negative = {topic: deque[str](maxlen=3) for topic in TOPICS}

    def __str__(self) -> str:
        shares = ", ".join(f"{topic} {trend.short.share:.0%}" for topic, trend in self.trends.items())
        return f"{self.texts:,} texts; negative of the last ones: {shares}"

    def __repr__(self) -> str:
        return f"<Monitor {self}>"

    def observe(self, text: str, topic: str, sentiment: str) -> None:
        """Take in a text with its labels."""
        self.texts += 1
        self._metrics.count(topic, sentiment)
        if topic not in self.trends:
            return
        trend, negative = self.trends[topic], sentiment == "negative"
        if negative:
            self._negative[topic].append(text[:200])
        change = trend.add(negative)
        self._metrics.show(topic, trend)
        if change is not None:
            self._tell(message(topic, trend, change, self._negative[topic]))


def message(topic: str, trend: Trend, change: Change, examples: Sequence[str]) -> dict[str, Any]:
    """Write what a webhook gets; ``text`` is what Slack and Mattermost show."""
    short, long = trend.short, trend.long
    shares = f"{short.share:.0%} of the last {len(short)} texts, {long.share:.0%} of the {len(long)} before"
    what = "Negative texts have jumped" if change is Change.RAISED else "Negative texts no longer jump"
    return {
        "text": f"{what}: {topic}, {shares}.",
        "state": change.value,
        "topic": topic,
        "negative_share": round(short.share, 3),
        "negative_share_before": round(long.share, 3),
        "z": round(trend.z, 2),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "negative_examples": list(examples),
    }


def watch(backlog: Backlog, labels: StreamLabels, monitor: Monitor, metrics: Metrics, patience: float) -> None:
    """Read a stream to its end; after ``patience`` seconds without a text, and then ever more rarely, say so."""
    silent, told = 0.0, time.monotonic()
    while (texts := backlog.take(BATCH, max(patience, silent))) is not None:
        if not texts:
            silent += max(patience, silent)
            print(f"no texts for {silent:g} s", flush=True)
            continue
        silent = 0.0
        for text, (topic, sentiment) in zip(texts, labels.label(texts), strict=True):
            monitor.observe(text, topic, sentiment)
        metrics.last_text.set_to_current_time()
        if time.monotonic() - told > _TOLD_SECONDS:
            told = time.monotonic()
            print(f"{monitor}; {len(backlog):,} waiting", flush=True)
    print(f"the stream has ended: {monitor}")
