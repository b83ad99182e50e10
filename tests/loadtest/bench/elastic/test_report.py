"""What was found is a table with a row for each run, and a plot of the replicas over what was needed."""

from __future__ import annotations

from loadtest.bench.elastic.report import chart, table

RUN = {
    "traffic": "day",
    "start_seconds": 40.0,
    "rule": "headgate",
    "attained": 0.987,
    "goodput_share": 0.99,
    "replica_seconds_share": 0.5,
    "changes": 7,
    "demand": [0, 3, 6],
    "replicas": [1, 1, 2],
}


def test_the_table_has_a_row_for_each_run_and_ours_stands_out() -> None:
    lines = table([RUN, RUN | {"rule": "HPA"}]).splitlines()
    assert lines[2:] == [
        "| day | 40 | **headgate** | 98.7% | 99.0% | 50.0% | 7 |",
        "| day | 40 | HPA | 98.7% | 99.0% | 50.0% | 7 |",
    ]


def test_the_plot_shows_what_was_there_and_what_was_needed() -> None:
    drawn = chart(RUN, 3.0).file()
    assert "needed" in drawn
    assert "replicas, starting ones too" in drawn
