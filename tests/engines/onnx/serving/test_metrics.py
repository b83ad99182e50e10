"""What is counted, as a scrape shows it."""

from __future__ import annotations

import pytest

from engines.onnx.serving.metrics import Metrics


def series(metrics: Metrics) -> dict[str, float]:
    """Give each series with labels, and its value."""
    body, _ = metrics.exposition("")
    lines = (line.rpartition(" ") for line in body.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_every_series_of_the_model_exists_from_the_start() -> None:
    found = series(Metrics("m"))
    assert found['headgate_onnx_tokens_total{kind="real",model="m"}'] == 0
    assert found['headgate_onnx_tokens_total{kind="computed",model="m"}'] == 0
    assert found['headgate_onnx_dropped_texts_total{model="m"}'] == 0
    assert found['headgate_onnx_queue_duration_seconds_count{model="m"}'] == 0
    assert found['headgate_onnx_batch_texts_count{model="m"}'] == 0
    assert found["headgate_onnx_process_resident_memory_bytes"] > 0


def test_no_series_goes_by_vllms_name() -> None:
    assert all(name.startswith("headgate_onnx_") for name in series(Metrics("m")))


def test_answers_count_by_endpoint_and_code() -> None:
    metrics = Metrics("m")
    metrics.responded("/classify", 200, 0.003)
    metrics.responded("/classify", 200, 0.2)
    metrics.responded("/classify", 400, 0.001)
    found = series(metrics)
    assert found['headgate_onnx_requests_total{code="200",endpoint="/classify",model="m"}'] == 2
    assert found['headgate_onnx_requests_total{code="400",endpoint="/classify",model="m"}'] == 1
    assert found['headgate_onnx_request_duration_seconds_bucket{endpoint="/classify",le="0.005",model="m"}'] == 2
    assert found['headgate_onnx_request_duration_seconds_count{endpoint="/classify",model="m"}'] == 3


def test_a_batch_counts_its_texts_its_tokens_and_what_padding_cost() -> None:
    metrics = Metrics("m")
    metrics.computed(texts=3, tokens=20, padded=24, seconds=0.02)
    metrics.computed(texts=1, tokens=5, padded=5, seconds=0.02)
    found = series(metrics)
    assert found['headgate_onnx_tokens_total{kind="real",model="m"}'] == 25
    assert found['headgate_onnx_tokens_total{kind="computed",model="m"}'] == 29
    assert found['headgate_onnx_batch_texts_sum{model="m"}'] == 4
    assert found['headgate_onnx_batch_duration_seconds_count{model="m"}'] == 2


def test_waits_and_dropped_texts_are_counted() -> None:
    metrics = Metrics("m")
    metrics.waited(0.5)
    metrics.dropped(7)
    found = series(metrics)
    assert found['headgate_onnx_queue_duration_seconds_sum{model="m"}'] == 0.5
    assert found['headgate_onnx_dropped_texts_total{model="m"}'] == 7


def test_a_gauge_is_read_when_it_is_asked_for() -> None:
    metrics = Metrics("m")
    waiting = [1, 2]
    metrics.watch("waiting_texts", "Texts that wait.", lambda: len(waiting))
    waiting.append(3)
    assert series(metrics)['headgate_onnx_waiting_texts{model="m"}'] == 3


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", b""),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8", b""),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0", b"# EOF\n"),
    ],
)
def test_a_scraper_gets_the_format_that_it_prefers(accept: str, content_type: str, end: bytes) -> None:
    body, given = Metrics("m").exposition(accept)
    assert given.startswith(content_type)
    assert body.endswith(end)
