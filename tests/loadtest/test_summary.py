"""Results are summed up under the names that vLLM's benchmark uses."""

from __future__ import annotations

import pytest

from loadtest.record import Record
from loadtest.summary import in_flight, most_at_once, percentile, summarise, table


def stream(planned: float, ttft: float, e2e: float, tokens: int = 11) -> Record:
    end = planned + e2e
    return Record(planned, sent=planned, first=planned + ttft, last=end, ended=end, tokens_in=3, tokens_out=tokens)


def test_percentiles_lie_between_the_nearest_ranks() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert [percentile(values, percent) for percent in (0, 50, 90, 100)] == pytest.approx([1.0, 2.5, 3.7, 4.0])
    assert percentile([5.0], 99) == 5.0


def test_counts_and_rates_are_those_of_the_whole_test() -> None:
    failed, left = Record(1.0, sent=1.0, error="status 503"), Record(2.0, sent=2.0, left=True)
    found = summarise([stream(0.0, 0.1, 2.1), failed, left, stream(3.0, 0.3, 4.3)], cpu_seconds=0.73)
    assert found["duration"] == pytest.approx(7.3)
    assert (found["num_prompts"], found["completed"], found["failed"], found["left"]) == (4, 2, 1, 1)
    assert (found["total_input_tokens"], found["total_output_tokens"]) == (6, 22)
    assert found["request_throughput"] == pytest.approx(2 / 7.3)
    assert found["output_throughput"] == pytest.approx(22 / 7.3)
    assert found["offered_rate"] == pytest.approx(1.0)
    assert found["client_cpu_share"] == pytest.approx(0.1)
    assert found["errors"] == {"status 503": 1}


def test_times_are_milliseconds_with_vllms_names() -> None:
    found = summarise([stream(0.0, 0.1, 2.1), stream(1.0, 0.3, 4.3)])
    assert found["mean_ttft_ms"] == pytest.approx(200.0)
    assert found["median_tpot_ms"] == pytest.approx(300.0)
    assert found["std_ttft_ms"] == pytest.approx(100.0)
    assert found["p99_e2el_ms"] == pytest.approx(4278.0)
    assert "mean_itl_ms" not in found


def test_goodput_counts_what_met_every_objective() -> None:
    records = [stream(0.0, 0.1, 2.0), stream(0.0, 0.5, 2.0), stream(0.0, 0.1, 4.0)]
    found = summarise(records, slos={"ttft": 200.0, "e2el": 3000.0})
    assert found["request_goodput"] == pytest.approx(1 / 4)
    assert found["slo_attainment"] == pytest.approx(1 / 3)
    assert summarise(records)["request_goodput"] is None


def test_a_test_without_any_answer_is_summed_up_too() -> None:
    found = summarise([Record(0.0, sent=0.0, error="refused")])
    assert (found["completed"], found["request_throughput"]) == (0, 0.0)
    assert "1 x refused" in table(found)


def test_the_table_says_it_in_a_few_lines() -> None:
    text = table(summarise([stream(0.0, 0.1, 2.1)], slos={"ttft": 200.0}, cpu_seconds=0.21))
    assert text.splitlines()[0] == "1 of 1 requests answered in 2.1 s, 0 failed, 0 left"
    assert "goodput 0.5/s" in text
    assert "ttft          100.00    100.00    100.00    100.00    100.00" in text
    assert "the client itself used 10% of a core" in text


def test_failures_are_counted_with_what_the_server_said() -> None:
    failed = [Record(0.0, sent=0.0, error="status 503", detail=f"full ({number})") for number in range(3)]
    found = summarise([*failed, Record(0.0, sent=0.0, error="closed")])
    assert found["errors"] == {"status 503: full (2)": 3, "closed": 1}


def test_kinds_are_summed_up_by_themselves_too() -> None:
    chat, small = stream(0.0, 0.1, 2.1), Record(0.0, sent=0.0, last=0.01, ended=0.01, kind="classify")
    chat.kind = "chat"
    found = summarise([chat, small])
    assert list(found["kinds"]) == ["chat", "classify"]
    assert found["kinds"]["classify"]["p50_e2el_ms"] == pytest.approx(10.0)
    assert "classify: 1 of 1 answered" in table(found)
    assert "kinds" not in summarise([chat])


def test_what_is_in_flight_is_known_from_the_records() -> None:
    records = [stream(0.0, 0.1, 2.0), stream(1.0, 0.1, 3.0), Record(5.0)]
    assert in_flight(records) == [(0.0, 1), (1.0, 2), (2.0, 1), (4.0, 0)]
    assert most_at_once(records) == 2
    assert most_at_once([]) == 0


def test_a_client_that_was_busy_is_warned_about() -> None:
    busy = summarise([stream(0.0, 0.1, 2.0)], cpu_seconds=1.7)
    assert busy["warnings"][0].startswith("the client used 85% of a core: it was the bottleneck")
    assert "warning: the client used 85% of a core" in table(busy)
    assert summarise([stream(0.0, 0.1, 2.0)], cpu_seconds=1.5)["warnings"] == []


def test_a_client_that_sent_late_beside_the_latency_is_warned_about() -> None:
    def late(by: float, ttft: float) -> list[str]:
        record = stream(by, ttft, 2.0)
        record.planned = 0.0
        warnings: list[str] = summarise([record])["warnings"]
        return warnings

    assert late(0.02, 0.1)[0].startswith("the client sent late (p99 20.0 ms)")
    assert late(0.02, 0.5) == []
    assert late(0.0015, 0.001) == []  # No more than the grain of timers.


def test_prompts_are_compared_with_what_the_server_counted() -> None:
    record = stream(0.0, 0.1, 2.1)
    record.asked_tokens = 2
    assert "prompts of 2.0 tokens on average, which the server counted as 3.0" in table(summarise([record]))
