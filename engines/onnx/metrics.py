"""What this engine counts, under its own prefix, so that a sum over vLLM's series never counts it twice."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128)
_PREFIX = "headgate_onnx"


class Metrics:
    """All series of one process, which serves one model; it observes the batcher."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._registry = CollectorRegistry()
        ProcessCollector(namespace=_PREFIX, registry=self._registry)
        self._requests = Counter(
            f"{_PREFIX}_requests_total", "Answered requests.", ("model", "endpoint", "code"), registry=self._registry
        )
        self._duration = Histogram(
            f"{_PREFIX}_request_duration_seconds",
            "From the head of a request to its answer.",
            ("model", "endpoint"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._waited = self._histogram(
            "queue_duration_seconds", "Wait of a request's first text for a thread.", _SECONDS
        )
        self._computing = self._histogram("batch_duration_seconds", "Time of a batch in its thread.", _SECONDS)
        self._batch_texts = self._histogram("batch_texts", "Texts in a batch.", _TEXTS)
        tokens = Counter(
            f"{_PREFIX}_tokens_total",
            "Tokens that ran through the graph: those of the texts (real), and these with padding (computed).",
            ("model", "kind"),
            registry=self._registry,
        )
        self._real_tokens, self._computed_tokens = tokens.labels(model, "real"), tokens.labels(model, "computed")
        self._dropped = Counter(
            f"{_PREFIX}_dropped_texts_total",
            "Texts given up before they ran, because their client left or their time was over.",
            ("model",),
            registry=self._registry,
        ).labels(model)

    def watch(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read when it is asked for."""
        Gauge(f"{_PREFIX}_{name}", description, ("model",), registry=self._registry).labels(self._model).set_function(
            read
        )

    def answered(self, endpoint: str, code: int, seconds: float) -> None:
        """Note an answer; ``endpoint`` is a route of the table, never a client's path."""
        self._requests.labels(self._model, endpoint, str(code)).inc()
        self._duration.labels(self._model, endpoint).observe(seconds)

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
        return encode(self._registry), content_type

    def _histogram(self, name: str, description: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", description, ("model",), buckets=buckets, registry=self._registry).labels(
            self._model
        )
