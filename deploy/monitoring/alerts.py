"""The alerts: what must be acted on, how it is found, and how urgent it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.monitoring.objectives import AVAILABILITY, LATENCY_SHARE, TTFT_SECONDS
from deploy.monitoring.promql import quantile, rate, series, share, total, within

RUNBOOK = "docs/runbook.md"

CRITICAL, WARNING, NONE = "critical", "warning", "none"
"""Somebody must act now; somebody must act today; nobody must act."""

_BUDGET = 1 - AVAILABILITY


@dataclass(frozen=True, slots=True)
class Recording:
    """An expression that is computed ahead, under a name of its own."""

    name: str
    expression: str

    def yaml(self) -> dict[str, Any]:
        """Write the rule as Prometheus reads it."""
        return {"record": self.name, "expr": self.expression}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert; ``expression`` must hold for as long as ``lasting`` says.

    ``summary`` and ``description`` may name labels as ``{{ $labels.model }}``, and the value with ``{{ $value }}``.
    """

    name: str
    expression: str
    lasting: str
    severity: str
    summary: str
    description: str

    @property
    def anchor(self) -> str:
        """The heading's anchor in the runbook."""
        return self.name.lower()

    def annotations(self) -> Mapping[str, str]:
        """What people get to read."""
        return {
            "summary": self.summary,
            "description": self.description,
            "runbook": f"{RUNBOOK}#{self.anchor}",
        }

    def yaml(self) -> dict[str, Any]:
        """Write the rule as Prometheus reads it."""
        waits = {"for": self.lasting} if self.lasting else {}
        labels = {"severity": self.severity}
        return {
            "alert": self.name,
            "expr": self.expression,
            **waits,
            "labels": labels,
            "annotations": dict(self.annotations()),
        }


def error_ratio(window: str) -> str:
    """Name the recorded share of each model's requests that ended in a 5xx."""
    return f"model:headgate_requests_errors:ratio_rate{window}"


def _errors(window: str) -> str:
    failed = rate(series("headgate_requests_total", 'code=~"5.."'), window)
    return share(total(failed, "model"), total(rate("headgate_requests_total", window), "model"))


def _burns(factor: float, long: str, short: str) -> str:
    """Tell whether errors use the budget up so many times too fast, for long, and still do."""
    limit = f"{factor * _BUDGET:g}"
    return f"{error_ratio(long)} > {limit} and {error_ratio(short)} > {limit}"


def _replicas(states: str, *by: str) -> str:
    return total(series("headgate_replicas", f'state=~"{states}"'), *by)


_TURNED_AWAY = share(
    total(rate(series("headgate_admissions_total", 'outcome=~"refused|shed|timeout"'), "5m"), "model"),
    total(rate(series("headgate_admissions_total", 'outcome=~"admitted|queued|refused|shed"'), "5m"), "model"),
)
_FAILED_ATTEMPTS = share(
    total(rate(series("headgate_upstream_attempts_total", 'outcome=~"failed|timeout"'), "5m"), "model", "replica"),
    total(rate("headgate_upstream_attempts_total", "5m"), "model", "replica"),
)
_OVER_BUDGET = total(rate(series("headgate_retries_total", 'outcome="over_budget"'), "5m"), "model")
_SHED = total(rate(series("headgate_admissions_total", 'outcome="shed"'), "5m"), "instance")
_GOOD_TTFT = within(TTFT_SECONDS, "headgate_time_to_first_token_seconds", "", "model", window="10m")

_READY, _MEANT, _TROUBLED, _ENDED = (
    f"model:headgate_replicas_{each}:sum" for each in ("ready", "meant", "troubled", "ended")
)

RECORDINGS = (
    *(Recording(error_ratio(window), _errors(window)) for window in ("5m", "30m", "1h", "6h")),
    Recording(_READY, _replicas("ready", "model")),
    Recording(_MEANT, total(series("headgate_replicas", 'state!~"draining|stopped"'), "model")),
    Recording(_TROUBLED, _replicas("failing|ejected|half_open|restarting|failed", "model")),
    Recording(_ENDED, _replicas("restarting|failed", "model")),
)

# A crashed engine is ``restarting`` only until its next start, then ``starting`` like a first one. The past tells them
# apart: the pool has served within the hour or was in trouble, and was not without replicas for a while.
_UNAVAILABLE = (
    f"{_READY} == 0 and min_over_time({_MEANT}[10m]) > 0 "
    f"and (max_over_time({_READY}[1h]) > 0 or max_over_time({_TROUBLED}[1h]) > 0)"
)

ALERTS = (
    Alert(
        name="HeadgateDown",
        expression='up{job="headgate"} == 0 or absent(up{job="headgate"})',
        lasting="1m",
        severity=CRITICAL,
        summary="Prometheus cannot scrape the gateway {{ $labels.instance }}",
        description="Its control port has not answered for a minute, or there is no such target at all.",
    ),
    Alert(
        name="HeadgateModelUnavailable",
        expression=_UNAVAILABLE,
        lasting="2m",
        severity=CRITICAL,
        summary="No replica of {{ $labels.model }} is ready",
        description="Its replicas fail, or have crashed and are loading again. Requests are held for a while and then "
        "get a 503. A pool without replicas, or whose first ones are loading, does not fire this.",
    ),
    Alert(
        name="HeadgateErrorBudgetFast",
        expression=_burns(14.4, "1h", "5m"),
        lasting="",
        severity=CRITICAL,
        summary="{{ $value | humanizePercentage }} of the requests for {{ $labels.model }} end in a 5xx",
        description="At this rate two days use up the error budget of a month.",
    ),
    Alert(
        name="HeadgateErrorBudgetSlow",
        expression=_burns(6, "6h", "30m"),
        lasting="",
        severity=WARNING,
        summary="{{ $value | humanizePercentage }} of the requests for {{ $labels.model }} end in a 5xx",
        description="At this rate five days use up the error budget of a month.",
    ),
    Alert(
        name="HeadgateTTFTSLOMissed",
        expression=f"{_GOOD_TTFT} < {LATENCY_SHARE:g}",
        lasting="10m",
        severity=WARNING,
        summary="Only {{ $value | humanizePercentage }} of the streams of {{ $labels.model }} begin in time",
        description=f"At least {LATENCY_SHARE:.0%} should have their first token within {TTFT_SECONDS:g} s.",
    ),
    Alert(
        name="HeadgateQueueStuck",
        expression="max by (model) (headgate_oldest_waiting_seconds) > 30 "
        f"and on (model) {_replicas('ready', 'model')} > 0",
        lasting="1m",
        severity=CRITICAL,
        summary="A request for {{ $labels.model }} has waited for {{ $value | humanizeDuration }}",
        description="Replicas are ready, but no slot becomes free: requests are very long, or a replica hangs.",
    ),
    Alert(
        name="HeadgateTurningAway",
        expression=f"{_TURNED_AWAY} > 0.01",
        lasting="5m",
        severity=WARNING,
        summary="{{ $value | humanizePercentage }} of the requests for {{ $labels.model }} find no place",
        description="The queue is full, or its time is over before a slot is free: replicas are missing.",
    ),
    Alert(
        name="HeadgateSaturated",
        expression="max by (model) (headgate_pool_saturation) > 0.9",
        lasting="10m",
        severity=WARNING,
        summary="{{ $labels.model }} has used {{ $value | humanizePercentage }} of its slots for ten minutes",
        description="There is no room for a burst or for the loss of a replica.",
    ),
    Alert(
        name="HeadgateReplicaStuckStarting",
        expression=f"{_replicas('pending|fetching|starting', 'model')} > 0",
        lasting="15m",
        severity=WARNING,
        summary="A replica of {{ $labels.model }} does not become ready",
        description="For 15 minutes some replica has been fetching or loading: longer than models of this size should "
        "take, or a remote address that has never answered, or a cluster that has no room.",
    ),
    Alert(
        name="HeadgateRayUnreachable",
        expression="headgate_ray_up == 0",
        lasting="5m",
        severity=WARNING,
        summary="{{ $labels.instance }} cannot ask the Ray cluster",
        description="Replicas that run go on serving; none is started, stopped or replaced.",
    ),
    Alert(
        name="HeadgateDiscoveryStale",
        expression="max by (instance, model) (headgate_discovery_age_seconds) > 300",
        lasting="1m",
        severity=WARNING,
        summary="{{ $labels.instance }} has not learnt for {{ $value | humanizeDuration }} which replicas {{ "
        "$labels.model }} has",
        description="The source does not answer. Those that were found before go on serving; new ones get nothing.",
    ),
    Alert(
        name="HeadgateReplicaFlapping",
        expression="max by (model, replica) (changes(headgate_replica_ready[30m])) > 6",
        lasting="",
        severity=WARNING,
        summary="{{ $labels.replica }} has become ready and unready {{ $value }} times in 30 minutes",
        description="It fails under load and recovers without, or its probes are too strict.",
    ),
    Alert(
        name="HeadgateReplicaRestarting",
        expression=f"max_over_time({_ENDED}[5m]) > 0",
        lasting="10m",
        severity=WARNING,
        summary="An engine of {{ $labels.model }} ends again and again",
        description="Each time that it is started it ends unasked, or does not become ready at all.",
    ),
    Alert(
        name="HeadgateReplicaFailed",
        expression=f"{_replicas('failed', 'model')} > 0",
        lasting="1m",
        severity=CRITICAL,
        summary="An engine of {{ $labels.model }} was given up",
        description="It will not be started again by itself.",
    ),
    Alert(
        name="HeadgateReplicaFailing",
        expression=f"{_FAILED_ATTEMPTS} > 0.1",
        lasting="5m",
        severity=WARNING,
        summary="{{ $value | humanizePercentage }} of the attempts at {{ $labels.replica }} fail",
        description="Retries may hide it from clients, as long as their budget lasts.",
    ),
    Alert(
        name="HeadgateReplicaUnhealthy",
        expression=f"{_replicas('failing|ejected|half_open', 'model')} > 0",
        lasting="5m",
        severity=WARNING,
        summary="A replica of {{ $labels.model }} fails its requests or its probes and gets none",
        description="It has been out for five minutes, and the others do its work.",
    ),
    Alert(
        name="HeadgateRetriesOverBudget",
        expression=f"{_OVER_BUDGET} > 0",
        lasting="5m",
        severity=WARNING,
        summary="Requests for {{ $labels.model }} fail that a retry might have saved",
        description="More attempts fail than the retry budget allows to repeat: several replicas fail at once.",
    ),
    Alert(
        name="HeadgateStreamsCut",
        expression=total(
            'increase(headgate_stream_recoveries_total{outcome!~"recovered|aborted"}[10m])',
            "model",
        )
        + " > 0",
        lasting="",
        severity=WARNING,
        summary="Streams of {{ $labels.model }} were cut when their replica died",
        description="Clients got a part of an answer and then an error.",
    ),
    Alert(
        name="HeadgateShedding",
        expression=f"{_SHED} > 0",
        lasting="5m",
        severity=WARNING,
        summary="{{ $labels.instance }} refuses requests because it has too much to do itself",
        description="Not engines are missing but the gateway's own core, or its memory for request bodies.",
    ),
    Alert(
        name="HeadgateEventLoopLag",
        expression=f"{quantile(0.99, 'headgate_event_loop_lag_seconds', '', 'instance', window='5m')} > 0.05",
        lasting="5m",
        severity=WARNING,
        summary="The data plane of {{ $labels.instance }} is {{ $value | humanizeDuration }} late",
        description="Its core is full: every event of every stream is late.",
    ),
    Alert(
        name="HeadgateFilesRunningOut",
        expression='process_open_fds{job="headgate"} / process_max_fds{job="headgate"} > 0.8',
        lasting="5m",
        severity=WARNING,
        summary="{{ $labels.instance }} has {{ $value | humanizePercentage }} of its files and sockets open",
        description="When there are none left, it can accept no connection and open none to an engine.",
    ),
    Alert(
        name="HeadgateCountsCorrected",
        expression="increase(headgate_lease_mismatch_total[1h]) > 0",
        lasting="",
        severity=WARNING,
        summary="{{ $labels.instance }} has corrected a count of its own ({{ $labels.lease }})",
        description="Nothing is lost, but what is acquired was not released once somewhere.",
    ),
    Alert(
        name="HeadgateEngineMetricsMissing",
        expression="max by (model, replica) (headgate_engine_metrics_up) == 0",
        lasting="15m",
        severity=NONE,
        summary="The metrics of {{ $labels.replica }} cannot be read",
        description="It has none, or they are too slow, too long or malformed. Requests are not affected.",
    ),
    Alert(
        name="HeadgateConfigReloadFailed",
        expression="headgate_config_last_reload_successful == 0",
        lasting="5m",
        severity=WARNING,
        summary="{{ $labels.instance }} has refused its new configuration",
        description="The old one is in force as a whole, and lost when the gateway is started again.",
    ),
    Alert(
        name="Watchdog",
        expression="vector(1)",
        lasting="",
        severity=NONE,
        summary="Alerts work",
        description="It always fires. Let a service outside complain when it stops.",
    ),
)
