"""What the data plane counts of requests, and how what several processes counted adds up."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import exp, log
from statistics import NormalDist

import msgspec
import pytest

from gateway.core.context import BATCH, RequestContext, RequestHead
from gateway.core.recording import Recording
from gateway.files.store import FileCounts
from gateway.observe.counters import DURATION_BOUNDS, Counters, Exemplar, Histogram, Snapshot, outcome_of


def ended(counters: Counters, model: str = "m", status: int = 200, *, seconds: float = 3.0) -> None:
    """Count a request of so many seconds, a fourth of a second of which the gateway itself took."""
    context = RequestContext(RequestHead(""), model=model, status=status)
    context.head.endpoint = "/classify"
    context.received_at, context.overhead, context.output_tokens = 100.0, 0.25, 5
    counters.ended(context, 100.0 + seconds)


def test_requests_are_counted_by_model_endpoint_and_status() -> None:
    counters = Counters()
    ended(counters)
    ended(counters)
    ended(counters, status=503)
    ended(counters, "unknown")
    assert counters.requests() == {
        ("m", "/classify", 200): 2,
        ("m", "/classify", 503): 1,
        ("unknown", "/classify", 200): 1,
    }
    assert repr(counters) == "<Counters [4 requests of 2 models]>"


def test_times_go_into_the_bucket_whose_upper_bound_they_do_not_exceed() -> None:
    histogram = Histogram.of((1.0, 2.0))
    for seconds in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(seconds)
    assert (histogram.counts, histogram.sum) == ([2, 1, 1], 12.0)


def test_a_request_is_observed_in_each_of_its_histograms_once() -> None:
    counters = Counters()
    ended(counters, seconds=3.0)
    metrics = counters.of("m")
    for histogram, seconds in ((metrics.durations["/classify"], 3.0), (metrics.overhead, 0.25)):
        expected = Histogram.of(histogram.bounds)
        expected.observe(seconds)
        assert histogram == expected


def test_what_another_process_counted_is_added() -> None:
    counters, other = Counters(), Counters()
    for each in (counters, other):
        ended(each)
        each.lagged(0.002)
        each.files.add(FileCounts(received_bytes=3, sent_bytes=2, expired=1))
    other.of("m").attempts["ok"]["m-0"] += 1
    counters.add(other.snapshot())
    assert counters.requests() == {("m", "/classify", 200): 2}
    metrics = counters.of("m")
    assert metrics.durations["/classify"].sum == 6.0
    assert metrics.tokens == {"input": 0, "output": 10, "cached": 0}
    assert metrics.attempts["ok"] == {"m-0": 1}
    assert counters.lag.sum == 0.004
    assert counters.files == FileCounts(received_bytes=6, sent_bytes=4, expired=2)


def test_what_keys_used_and_were_refused_is_added_by_group() -> None:
    counters, other = Counters(), Counters()
    for each in (counters, other):
        each.key_input_tokens["team"] += 3
        each.key_output_tokens["team"] += 4
        each.key_refused("team", "expired")
    other.key_refused("alice", "model")
    counters.add(other.snapshot())
    assert (counters.key_input_tokens, counters.key_output_tokens) == ({"team": 6}, {"team": 8})
    assert counters.key_refusals == {("team", "expired"): 2, ("alice", "model"): 1}


@pytest.mark.parametrize(
    ("status", "outcome"), [(400, "ok"), (429, "ok"), (500, "failed"), (502, "failed"), (503, "full")]
)
def test_an_engine_that_is_full_has_not_failed(status: int, outcome: str) -> None:
    assert outcome_of(status) == outcome


@pytest.mark.parametrize("histogram", ["first_token", "duration"])
@pytest.mark.parametrize("p95", [0.0526, 0.011, 0.09, 0.4, 2.2, 7.0])
@pytest.mark.parametrize("spread", [0.2, 0.5, 1.0])
def test_a_p95_is_read_within_ten_percent_where_language_models_live(histogram: str, p95: float, spread: float) -> None:
    metrics = Counters().of("m")
    observed = metrics.first_token if histogram == "first_token" else Histogram.of(DURATION_BOUNDS)
    # A log-normal distribution, by its quantiles.
    normal = NormalDist(log(p95) - spread * NormalDist().inv_cdf(0.95), spread)
    for number in range(10_000):
        observed.observe(exp(normal.inv_cdf((number + 0.5) / 10_000)))
    assert quantile(observed, 0.95) == pytest.approx(p95, rel=0.1)


def quantile(histogram: Histogram, share: float) -> float:
    """Read a quantile as Prometheus does: by linear interpolation within a bucket."""
    totals = list(accumulate(histogram.counts))
    rank = share * totals[-1]
    at = bisect_left(totals, rank)
    lower = histogram.bounds[at - 1] if at else 0.0
    before = totals[at - 1] if at else 0
    return lower + (histogram.bounds[at] - lower) * (rank - before) / (totals[at] - before)


def streamed(status: int = 200) -> RequestContext:
    """Return a request whose first token came after a second, and four more in two seconds."""
    context = RequestContext(RequestHead(""), model="m", status=status)
    context.received_at, context.overhead = 100.0, 0.25
    context.first_token_at, context.output_tokens = 101.0, 5
    return context


@pytest.mark.parametrize(
    ("objectives", "met", "missed"),
    [
        ({"ttft": 1.0, "tpot": 0.5, "e2e": 3.0}, {"ttft": 1, "tpot": 1, "e2e": 1}, {"ttft": 0, "tpot": 0, "e2e": 0}),
        ({"ttft": 0.9, "tpot": 0.4, "e2e": 2.9}, {"ttft": 0, "tpot": 0, "e2e": 0}, {"ttft": 1, "tpot": 1, "e2e": 1}),
        ({"ttft": 0.9, "e2e": 9.0}, {"ttft": 0, "tpot": 0, "e2e": 1}, {"ttft": 1, "tpot": 0, "e2e": 0}),
        ({}, {"ttft": 0, "tpot": 0, "e2e": 0}, {"ttft": 0, "tpot": 0, "e2e": 0}),
    ],
)
def test_requests_are_judged_by_the_objectives_of_their_model(
    objectives: dict[str, float], met: dict[str, int], missed: dict[str, int]
) -> None:
    counters = Counters()
    counters.set_objectives({"m": objectives})
    counters.ended(streamed(), 103.0)
    assert (counters.of("m").slo_met, counters.of("m").slo_missed) == (met, missed)


def test_neither_errors_nor_what_has_no_tokens_are_judged_by_objectives_of_tokens() -> None:
    counters = Counters()
    counters.set_objectives({"m": {"ttft": 1.0, "tpot": 0.5, "e2e": 3.0}})
    counters.ended(streamed(status=504), 103.0)
    ended(counters, seconds=4.0)
    assert counters.of("m").slo_met == {"ttft": 0, "tpot": 0, "e2e": 0}
    assert counters.of("m").slo_missed == {"ttft": 0, "tpot": 0, "e2e": 1}


def test_other_objectives_hold_for_requests_from_then_on() -> None:
    counters = Counters()
    counters.ended(streamed(), 103.0)
    counters.set_objectives({"m": {"e2e": 3.0}})
    counters.ended(streamed(), 103.0)
    counters.set_objectives({"m": {"e2e": 2.0}})
    counters.ended(streamed(), 103.0)
    counters.set_objectives({})
    counters.ended(streamed(), 103.0)
    assert (counters.of("m").slo_met["e2e"], counters.of("m").slo_missed["e2e"]) == (1, 1)


def test_lines_of_batches_are_not_judged() -> None:
    counters, line = Counters(), streamed()
    counters.set_objectives({"m": {"e2e": 3.0}})
    line.head.client = BATCH
    counters.ended(line, 103.0)
    assert (counters.of("m").slo_met["e2e"], counters.of("m").slo_missed["e2e"]) == (0, 0)


def test_objectives_lost_lines_and_spans_of_another_process_are_added() -> None:
    total, process = Counters(), Counters()
    process.set_objectives({"m": {"e2e": 3.0}})
    process.ended(streamed(), 103.0)
    process.lost_log_lines = 2
    process.spans["exported"] = 5
    total.add(process.snapshot())
    total.add(process.snapshot())
    assert total.of("m").slo_met["e2e"] == 2
    assert (total.lost_log_lines, total.spans) == (4, {"exported": 10, "dropped": 0})


def test_a_traced_request_stands_for_its_buckets_and_any_other_does_not() -> None:
    counters = Counters()
    counters.ended(streamed(), 103.0)
    assert counters.of("m").first_token.exemplars is None
    traced = streamed()
    traced.recording = Recording("a" * 32, "b" * 16, "", "")
    traced.queued_for = 0.1
    counters.ended(traced, 103.0)
    metrics = counters.of("m")
    (durations,) = metrics.durations.values()
    for histogram, value in (
        (durations, 3.0),
        (metrics.first_token, 1.0),
        (metrics.per_token, 0.5),
        (metrics.overhead, 0.25),
        (metrics.waits, 0.1),
    ):
        assert histogram.exemplars is not None
        ((bucket, exemplar),) = histogram.exemplars.items()
        assert (exemplar.trace_id, exemplar.value) == ("a" * 32, value)
        assert histogram.counts[bucket] >= 1


def test_of_exemplars_of_several_processes_the_latest_stands() -> None:
    total, processes = Histogram.of((1.0, 2.0)), [Histogram.of((1.0, 2.0)) for _ in range(2)]
    for number, (process, at) in enumerate(zip(processes, (20.0, 10.0), strict=True)):
        process.observe(0.5)
        process.exemplify(0.5, f"of {number}", at)
    processes[1].exemplify(9.0, "alone", 5.0)
    for process in processes:
        total.add(process)
    assert total.exemplars == {0: Exemplar("of 0", 0.5, 20.0), 2: Exemplar("alone", 9.0, 5.0)}


def test_exemplars_go_from_one_process_to_another() -> None:
    counters = Counters()
    counters.lag.exemplify(0.002, "a" * 32, 10.0)
    sent = msgspec.msgpack.encode(counters.snapshot())
    assert msgspec.msgpack.decode(sent, type=Snapshot).lag == counters.lag
