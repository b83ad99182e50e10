"""The overview asks for the figures that the documentation tells people to look at."""

from __future__ import annotations

from deploy.monitoring.dashboards.overview import OVERVIEW, errors, of_pools, percentiles, requests, turned_away

MODEL = 'model=~"$model", instance=~"$instance"'


def test_requests_are_counted_together_or_apart() -> None:
    assert requests() == f"sum(rate(headgate_requests_total{{{MODEL}}}[$__rate_interval]))"
    assert requests('code="499"', by=("model",)) == (
        f'sum by (model) (rate(headgate_requests_total{{{MODEL}, code="499"}}[$__rate_interval]))'
    )


def test_errors_are_a_share_of_the_requests_of_the_same_model() -> None:
    failed = requests('code=~"5.."', by=("model",))
    assert errors("model") == f"{failed} / ({requests(by=('model',))} > 0)"


def test_a_request_that_times_out_in_the_queue_was_counted_when_it_was_queued() -> None:
    refused, asked = turned_away().split(" / ")
    assert 'outcome=~"refused|shed|timeout"' in refused
    assert 'outcome=~"admitted|queued|refused|shed"' in asked


def test_gauges_are_those_of_the_pools_of_the_chosen_models() -> None:
    assert of_pools("headgate_demand") == 'sum by (model) (headgate_demand{model=~"$pool", instance=~"$instance"})'


def test_a_median_and_two_tails_are_drawn() -> None:
    assert [query.legend for query in percentiles("a")] == ["p50", "p95", "p99"]


def test_what_matters_most_stands_first_in_one_line() -> None:
    first = OVERVIEW.rows[0]
    assert sum(panel.width for panel in first.panels) == 24
