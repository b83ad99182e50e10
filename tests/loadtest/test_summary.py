"""Results are summed up under the names that vLLM's benchmark uses."""

from __future__ import annotations

import pytest

from loadtest.record import Record
from loadtest.summary import percentile, summarise, table


def stream(planned: float, ttft: float, e2e: float, tokens: int = 11) -> Record:
    return Record(planned, sent=planned, first=planned + ttft, last=planned + e2e, tokens_in=3, tokens_out=tokens)


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
