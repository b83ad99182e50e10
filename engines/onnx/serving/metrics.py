"""What this engine counts, under its own prefix, so that a sum over vLLM's series never counts it twice."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128)
_PREFIX = "headgate_onnx"


class _Families:
    """The series of all models of a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(namespace=_PREFIX, registry=self.registry)
        self.requests = Counter(
            f"{_PREFIX}_requests_total", "Answered requests.", ("model", "endpoint", "code"), registry=self.registry
        )
        self.duration = self._histogram(
            "request_duration_seconds", "From the head of a request to its response.", _SECONDS, "endpoint"
        )
        self.waited = self._histogram(
            "queue_duration_seconds", "Wait of a request's first text for a thread.", _SECONDS
        )
        self.computing = self._histogram("batch_duration_seconds", "Time of a batch in its thread.", _SECONDS)
        self.batch_texts = self._histogram("batch_texts", "Texts in a batch.", _TEXTS)
        self.tokens = Counter(
            f"{_PREFIX}_tokens_total",
            "Tokens that ran through the graph: those of the texts (real), and these with padding (computed).",
            ("model", "kind"),
            registry=self.registry,
        )
        self.dropped = Counter(
            f"{_PREFIX}_dropped_texts_total",
            "Texts given up before they ran, because their client left or their time was over.",
            ("model",),
            registry=self.registry,
        )
        self._gauges: dict[str, Gauge] = {}
        self.models: dict[str, Metrics] = {}

    def gauge(self, name: str, description: str, *labels: str) -> Gauge:
        """Give the gauge of this name, the same one for all models."""
        if name not in self._gauges:
            self._gauges[name] = Gauge(f"{_PREFIX}_{name}", description, ("model", *labels), registry=self.registry)
        return self._gauges[name]

    def _histogram(self, name: str, description: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", description, ("model", *labels), buckets=buckets, registry=self.registry)


class Metrics:
    """The series of one model in a process that may serve several; it observes the batchers of its versions."""

    def __init__(self, model: str, families: _Families | None = None) -> None:
        self._model = model
        self._families = families = families or _Families()
        families.models[model] = self
        self._requests, self._duration = families.requests, families.duration
        self._series: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._waited, self._computing = families.waited.labels(model), families.computing.labels(model)
        self._batch_texts, self._dropped = families.batch_texts.labels(model), families.dropped.labels(model)
        self._real_tokens = families.tokens.labels(model, "real")
        self._computed_tokens = families.tokens.labels(model, "computed")

    def of(self, model: str) -> Metrics:
        """Give the metrics of another model of the same process."""
        return self._families.models.get(model) or Metrics(model, self._families)

    def watch(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read when it is asked for, in the place of one of the same name."""
        self._families.gauge(name, description).labels(self._model).set_function(read)

    def note(self, name: str, description: str, version: str, value: float) -> None:
        """Set what is known about one version of the model."""
        self._families.gauge(name, description, "version").labels(self._model, version).set(value)

    def forget(self, name: str, version: str) -> None:
        """Drop what was noted about a version that is served no more."""
        self._families.gauge(name, "", "version").remove(self._model, version)

    def responded(self, endpoint: str, code: int, seconds: float) -> None:
        """Count a response; ``endpoint`` is a route of the table, never a client's path."""
        series = self._series.get((endpoint, code))
        if series is None:
            series = self._series[endpoint, code] = (
                self._requests.labels(self._model, endpoint, str(code)),
                self._duration.labels(self._model, endpoint),
            )
        series[0].inc()
        series[1].observe(seconds)

    def waited(self, seconds: float) -> None:
        """Note how long a request's first text waited."""
        self._waited.observe(seconds)

    def computed(self, texts: int, tokens: int, padded: int, seconds: float) -> None:
        """Note a batch."""
        self._batch_texts.observe(texts)
        self._real_tokens.inc(tokens)
        self._computed_tokens.inc(padded)
        self._computing.observe(seconds)

    def dropped(self, texts: int) -> None:
        """Note texts that were given up before they ran."""
        self._dropped.inc(texts)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Give all series and their content type, in the format that the Accept header prefers."""
        encode, content_type = choose_encoder(accept)
        return encode(self._families.registry), content_type
