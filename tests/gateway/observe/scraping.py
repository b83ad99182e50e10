"""A gateway's metrics as Prometheus reads them, and requests that are counted there."""

from __future__ import annotations

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.context import RequestContext, RequestHead
from gateway.observe.exposition import Exposition

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(exposition: Exposition) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families(exposition)
        for sample in family.samples
    }


def families(exposition: Exposition) -> list[Metric]:
    return list(text_string_to_metric_families(exposition.text().decode()))


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"headgate_{name}", tuple(sorted(labels.items()))]


def ended(model: str = "m", *, tokens: int = 0, sent: bool = True) -> RequestContext:
    context = RequestContext(RequestHead(""))
    context.model, context.head.endpoint, context.status = model, "/v1/chat/completions", 200
    context.received_at = 100.0
    if sent:
        context.overhead = 0.125
        context.queued_for = 0.125
    context.first_token_at = 101.0 if tokens else None
    context.input_tokens, context.output_tokens, context.cached_tokens = 7, tokens, 2
    return context
