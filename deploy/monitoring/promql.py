"""The few shapes of PromQL that dashboards and alerts are made of.

Shares of histograms are read from a bucket and not from a quantile: the number of streams within the objective is
exact, and the counts of several gateways add up, which quantiles do not.
"""

from __future__ import annotations

MODEL = 'model=~"$model", instance=~"$instance"'
"""Selects what is counted per model."""

POOL = 'model=~"$pool", instance=~"$instance"'
"""Selects gauges of a pool, whose ``model`` is the name of the pool's first model."""

GATEWAY = 'instance=~"$instance"'
"""Selects what is counted per gateway."""

PROCESS = 'instance=~"$instance", replica=""'
"""Selects ``process_*`` of gateways: their engines' are relayed with a ``replica``."""

DASHBOARD_WINDOW = "$__rate_interval"
"""Grafana's own choice: at least four scrapes, and no less than a pixel."""


def series(name: str, *matchers: str) -> str:
    """Select series by a name and matchers."""
    chosen = ", ".join(matcher for matcher in matchers if matcher)
    return f"{name}{{{chosen}}}" if chosen else name


def rate(selected: str, window: str = DASHBOARD_WINDOW) -> str:
    """Compute how much a counter grows in a second."""
    return f"rate({selected}[{window}])"


def total(expression: str, *by: str) -> str:
    """Add series up, one sum for each value of these labels."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def highest(expression: str, *by: str) -> str:
    """Take the highest of series, one for each value of these labels."""
    return f"max by ({', '.join(by)}) ({expression})" if by else f"max({expression})"


def share(part: str, whole: str) -> str:
    """Divide two sums; there is no share, and no 0/0, where nothing happened."""
    return f"{part} / ({whole} > 0)"


def quantile(which: float, histogram: str, matchers: str, *by: str, window: str = DASHBOARD_WINDOW) -> str:
    """Estimate a quantile (0 to 1) of a histogram."""
    buckets = total(rate(series(f"{histogram}_bucket", matchers), window), *by, "le")
    return f"histogram_quantile({which:g}, {buckets})"


def within(bound: float, histogram: str, matchers: str, *by: str, window: str = DASHBOARD_WINDOW) -> str:
    """Compute the share of observations that are at most a bound of the histogram."""
    good = rate(series(f"{histogram}_bucket", matchers, f'le="{bound}"'), window)
    return share(total(good, *by), total(rate(series(f"{histogram}_count", matchers), window), *by))


def mean(histogram: str, matchers: str, *by: str, window: str = DASHBOARD_WINDOW) -> str:
    """Compute the mean of a histogram's observations."""
    observed = rate(series(f"{histogram}_count", matchers), window)
    return share(total(rate(series(f"{histogram}_sum", matchers), window), *by), total(observed, *by))


def for_each_model(of_pools: str) -> str:
    """Give a value that each pool has, by its name as ``model``, to each of the pool's models."""
    models = highest(series("headgate_model_info", MODEL), "model", "pool")
    return f'{models} * on (pool) group_left () label_replace({of_pools}, "pool", "$1", "model", "(.+)")'
