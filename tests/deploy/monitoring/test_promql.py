"""The shapes of PromQL that all dashboards and alerts are made of."""

from __future__ import annotations

from deploy.monitoring.promql import for_each_model, highest, mean, quantile, rate, series, share, total, within


def test_series_are_selected_by_those_matchers_that_there_are() -> None:
    assert series("up") == "up"
    assert series("up", 'job="a"', "", 'instance="b"') == 'up{job="a", instance="b"}'


def test_a_counter_is_read_as_a_rate_over_grafanas_window_or_a_given_one() -> None:
    assert rate("asked_total") == "rate(asked_total[$__rate_interval])"
    assert rate("asked_total", "5m") == "rate(asked_total[5m])"


def test_series_are_put_together_for_each_value_of_some_labels() -> None:
    assert total("a") == "sum(a)"
    assert total("a", "model", "code") == "sum by (model, code) (a)"
    assert highest("a") == "max(a)"
    assert highest("a", "model") == "max by (model) (a)"


def test_there_is_no_share_of_nothing() -> None:
    assert share("sum(a)", "sum(b)") == "sum(a) / (sum(b) > 0)"


def test_a_quantile_keeps_the_buckets_apart() -> None:
    assert quantile(0.95, "wait", 'a="b"', "model", window="5m") == (
        'histogram_quantile(0.95, sum by (model, le) (rate(wait_bucket{a="b"}[5m])))'
    )


def test_the_share_within_a_bound_is_that_of_its_bucket() -> None:
    assert within(2.0, "wait", "", "model", window="5m") == (
        'sum by (model) (rate(wait_bucket{le="2.0"}[5m])) / (sum by (model) (rate(wait_count[5m])) > 0)'
    )


def test_a_mean_is_the_sum_by_the_number() -> None:
    assert mean("wait", "", window="5m") == "sum(rate(wait_sum[5m])) / (sum(rate(wait_count[5m])) > 0)"


def test_each_model_gets_the_value_of_its_pool() -> None:
    assert for_each_model("a") == (
        'max by (model, pool) (headgate_model_info{model=~"$model", instance=~"$instance"}) '
        '* on (pool) group_left () label_replace(a, "pool", "$1", "model", "(.+)")'
    )
