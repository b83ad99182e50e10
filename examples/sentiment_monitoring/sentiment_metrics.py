"""What the monitor tells Prometheus; ``examples/sentiment_monitoring`` has alerts and a dashboard for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from examples.sentiment_monitoring.trends import Trend
from examples.texts import SENTIMENTS, TOPICS, UNSURE


class Metrics:
    """The series of a monitor, all of them there from the start: what has not happened yet is at 0."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        topic = ("topic",)
        self._texts = self._counter("texts", "Texts that were classified.", ("topic", "sentiment"))
        self._share = self._gauge(
            "negative_share",
            "Share of negative texts: the last ones (short), those before (long).",
            ("topic", "window"),
        )
        self._z = self._gauge("shift_z", "Standard errors by which the short window's share is the higher one.", topic)
        self._alert = self._gauge("alert", "1 while the negative share is on alert.", topic)
        self._messages = self._counter(
            "webhook_messages", "Messages to the webhook, by what became of them.", ("outcome",)
        )
        self.retries = self._counter(
            "gateway_retries", "Requests that the gateway could not answer, and that were repeated."
        )
        self.waiting = self._gauge("texts_waiting", "Texts that were read and wait for their labels.")
        self.last_text = self._gauge("last_text_timestamp_seconds", "When a text was classified last, or the start.")
        self.last_text.set_to_current_time()
        for name in TOPICS:
            self.show(name, Trend())
        for labels in [(name, sentiment) for name in (*TOPICS, UNSURE) for sentiment in SENTIMENTS]:
            self._texts.labels(*labels)
        for outcome in ("delivered", "lost"):
            self._messages.labels(outcome)

    @contextmanager
    def serving(self, address: str) -> Iterator[str]:
        """Serve them at ``HOST:PORT`` until the block ends; give the address, with the port if that was 0.

        Raises ``OSError`` where nobody can listen there.
        """
        host, _, port = address.rpartition(":")
        server, thread = start_http_server(int(port), host, registry=self.registry)
        try:
            yield f"{host}:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def count(self, topic: str, sentiment: str) -> None:
        """Count a text."""
        self._texts.labels(topic, sentiment).inc()

    def show(self, topic: str, trend: Trend) -> None:
        """Show a topic as it is now."""
        self._share.labels(topic, "short").set(trend.short.share)
        self._share.labels(topic, "long").set(trend.long.share)
        self._z.labels(topic).set(trend.z)
        self._alert.labels(topic).set(trend.alert)

    def message(self, outcome: str) -> None:
        """Count a message to the webhook."""
        self._messages.labels(outcome).inc()

    def _counter(self, name: str, says: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(f"sentiment_{name}", says, labels, registry=self.registry)

    def _gauge(self, name: str, says: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(f"sentiment_{name}", says, labels, registry=self.registry)
