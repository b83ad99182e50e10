"""When each alert must fire and when it must not, as tests for ``promtool test rules``.

The silent case of an alert is the nearest thing to its trouble that is none: a replica that loads, a short spike, a
model that nobody asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.monitoring.alerts import ALERTS, Alert


@dataclass(frozen=True, slots=True)
class Firing:
    """One alert that is expected: its labels besides the severity, and its value as people read it."""

    labels: Mapping[str, str] = field(default_factory=dict)
    value: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """What Prometheus has scraped each minute (in promtool's notation), and which alerts must fire after it."""

    alert: str
    story: str
    series: Mapping[str, str]
    at: str
    fires: Sequence[Firing] = ()

    def yaml(self) -> dict[str, Any]:
        """Write the test as promtool reads it."""
        alert = next(each for each in ALERTS if each.name == self.alert)
        expected = [_expected(alert, each) for each in self.fires]
        return {
            "name": f"{self.alert} {'fires' if self.fires else 'is silent'}: {self.story}",
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in self.series.items()],
            "alert_rule_test": [{"eval_time": self.at, "alertname": self.alert, "exp_alerts": expected}],
        }


def _expected(alert: Alert, firing: Firing) -> dict[str, Any]:
    return {
        "exp_labels": {"severity": alert.severity, **firing.labels},
        "exp_annotations": {name: _filled(text, firing) for name, text in alert.annotations().items()},
    }


def _filled(text: str, firing: Firing) -> str:
    """Fill in what Prometheus will: the labels and the value."""
    text = re.sub(r"{{ \$labels\.(\w+) }}", lambda found: firing.labels[found[1]], text)
    return re.sub(r"{{ \$value[^}]*}}", firing.value, text)


def _replicas(model: str, **states: str) -> dict[str, str]:
    """How many replicas of a model were in which state, minute by minute; in all other states there were none."""
    up = ["pending", "fetching", "starting", "ready", "failing", "ejected", "half_open"]
    every = [*up, "restarting", "draining", "failed", "stopped"]
    return {f'headgate_replicas{{model="{model}", state="{each}"}}': states.get(each, "0x60") for each in every}


def _requests(good: str, bad: str) -> dict[str, str]:
    return {
        'headgate_requests_total{model="chat", endpoint="/v1/chat/completions", code="200"}': good,
        'headgate_requests_total{model="chat", endpoint="/v1/chat/completions", code="502"}': bad,
    }


def _first_tokens(good: str, every: str) -> dict[str, str]:
    name = "headgate_time_to_first_token_seconds"
    return {f'{name}_bucket{{model="chat", le="2.0"}}': good, f'{name}_count{{model="chat"}}': every}


def _lag(in_time: str, late: str, every: str) -> dict[str, str]:
    name = "headgate_event_loop_lag_seconds"
    buckets = {"0.05": in_time, "0.1": late, "+Inf": every}
    return {f'{name}_bucket{{instance="a", le="{bound}"}}': values for bound, values in buckets.items()}


def _admissions(admitted: str, refused: str) -> dict[str, str]:
    return {
        'headgate_admissions_total{model="chat", outcome="admitted"}': admitted,
        'headgate_admissions_total{model="chat", outcome="refused"}': refused,
    }


def _attempts(ok: str, failed: str) -> dict[str, str]:
    return {
        'headgate_upstream_attempts_total{model="chat", replica="chat-0", outcome="ok"}': ok,
        'headgate_upstream_attempts_total{model="chat", replica="chat-0", outcome="failed"}': failed,
    }


_UP = 'up{job="headgate", instance="a"}'
_OLDEST = 'headgate_oldest_waiting_seconds{model="chat"}'
_READY = 'headgate_replica_ready{model="chat", replica="chat-0"}'
_SATURATION = 'headgate_pool_saturation{model="chat"}'
_OVER_BUDGET = 'headgate_retries_total{model="chat", outcome="over_budget"}'
_RELOAD = 'headgate_config_last_reload_successful{instance="a"}'
_ENGINE = 'headgate_engine_metrics_up{model="chat", replica="chat-0"}'
_CORRECTED = 'headgate_lease_mismatch_total{instance="a", lease="slot"}'
_SHED = 'headgate_admissions_total{instance="a", model="chat", outcome="shed"}'
_RAY = 'headgate_ray_up{instance="a"}'
_FOUND_AGO = 'headgate_discovery_age_seconds{instance="a", model="chat"}'
_OPEN, _MOST = ('process_%s_fds{job="headgate", instance="a"}' % which for which in ("open", "max"))  # noqa: UP031
_CUT = 'headgate_stream_recoveries_total{model="chat", outcome="%s"}'

_CHAT = {"model": "chat"}
_CHAT_0 = {"model": "chat", "replica": "chat-0"}
_A = {"instance": "a"}


def _cases() -> Iterator[Case]:
    job = {"job": "headgate"}
    yield Case("HeadgateDown", "no scrape succeeds", {_UP: "1x2 0x10"}, "5m", [Firing({**_A, **job})])
    yield Case("HeadgateDown", "one scrape fails", {_UP: "1x3 0 1x5"}, "5m")
    yield Case("HeadgateDown", "it is up", {_UP: "1x10"}, "5m")

    name = "HeadgateModelUnavailable"
    crashed = _replicas("chat", ready="1x14 0x9", restarting="0x14 1 0x8", starting="0x15 1x8")
    yield Case(name, "its engine crashed and loads", crashed, "19m", [Firing(_CHAT)])
    failing = _replicas("chat", ready="0x19", failing="2x19")
    yield Case(name, "its replicas fail their probes", failing, "15m", [Firing(_CHAT)])
    yield Case(name, "one of two failed", _replicas("chat", ready="2x9 1x9", failed="0x9 1x9"), "15m")
    yield Case(name, "none is wanted", _replicas("chat", ready="1x5 0x15", draining="0x5 1x3 0x12"), "15m")
    yield Case(name, "the first one loads", _replicas("chat", starting="1x20"), "15m")
    yield Case(name, "the first one after none loads", _replicas("chat", ready="1x5 0x15", starting="0x11 1x9"), "15m")

    name = "HeadgateErrorBudgetFast"
    yield Case(name, "2 % fail", _requests("0+98x30", "0+2x30"), "20m", [Firing(_CHAT, "2%")])
    yield Case(name, "1 % fails", _requests("0+99x30", "0+1x30"), "20m")
    yield Case(name, "it is over", _requests("0+90x30", "0+10x15 150x15"), "25m")
    yield Case(name, "nobody asks", _requests("5x30", "5x30"), "20m")

    name = "HeadgateErrorBudgetSlow"
    yield Case(name, "1 % fails", _requests("0+99x60", "0+1x60"), "40m", [Firing(_CHAT, "1%")])
    yield Case(name, "0.5 % fail", _requests("0+199x60", "0+1x60"), "40m")

    yield Case(name, "it is over", _requests("0+90x60", "0+10x15 150x45"), "50m")

    name = "HeadgateTTFTSLOMissed"
    yield Case(name, "one in ten is late", _first_tokens("0+90x40", "0+100x40"), "25m", [Firing(_CHAT, "90%")])
    yield Case(name, "one in a hundred is late", _first_tokens("0+99x40", "0+100x40"), "30m")
    yield Case(name, "there are no streams", _first_tokens("7x40", "9x40"), "30m")

    name = "HeadgateQueueStuck"
    ready = _replicas("chat", ready="1x20")
    yield Case(name, "the queue does not move", {_OLDEST: "0+20x20", **ready}, "6m", [Firing(_CHAT, "2m 0s")])
    yield Case(name, "the queue moves", {_OLDEST: "20x20", **ready}, "6m")
    yield Case(name, "they wait for a replica", {_OLDEST: "0+20x20", **_replicas("chat", starting="1x20")}, "6m")

    name = "HeadgateTurningAway"
    yield Case(name, "5 % are refused", _admissions("0+95x20", "0+5x20"), "15m", [Firing(_CHAT, "5%")])
    yield Case(name, "0.5 % are refused", _admissions("0+199x20", "0+1x20"), "15m")

    name = "HeadgateSaturated"
    yield Case(name, "it is full", {_SATURATION: "0.5x2 0.95x20"}, "15m", [Firing(_CHAT, "95%")])
    yield Case(name, "a burst", {_SATURATION: "0.5x2 1x5 0.5x20"}, "15m")

    name = "HeadgateReplicaStuckStarting"
    yield Case(name, "it never ends", _replicas("chat", ready="1x30", starting="1x30"), "20m", [Firing(_CHAT)])
    yield Case(name, "it loads for ten minutes", _replicas("chat", ready="0x9 1x21", starting="1x9 0x21"), "20m")

    yield Case(name, "there is no room for it", _replicas("chat", pending="1x30"), "20m", [Firing(_CHAT)])

    name = "HeadgateRayUnreachable"
    yield Case(name, "its head is gone", {_RAY: "1x2 0x20"}, "10m", [Firing(_A)])
    yield Case(name, "its head was restarted", {_RAY: "1x2 0x3 1x20"}, "10m")

    name = "HeadgateDiscoveryStale"
    yield Case(name, "the source is gone", {_FOUND_AGO: "0+60x20"}, "10m", [Firing({**_A, **_CHAT}, "10m 0s")])
    yield Case(name, "a watched service says nothing new", {_FOUND_AGO: "70x20"}, "10m")

    name = "HeadgateReplicaFlapping"
    yield Case(name, "it comes and goes", {_READY: "1 0 1 0 1 0 1 0 1x30"}, "20m", [Firing(_CHAT_0, "8")])
    yield Case(name, "it was updated", {_READY: "1x5 0x3 1x30"}, "20m")

    name = "HeadgateReplicaRestarting"
    loop = _replicas("chat", restarting="1 0 0 " * 8, starting="0 1 1 " * 8)
    yield Case(name, "it crashes while it loads, again and again", loop, "16m", [Firing(_CHAT)])
    yield Case(name, "it crashed once", _replicas("chat", restarting="0x3 1 0x20", ready="1x3 0 0 1x19"), "16m")

    name = "HeadgateReplicaFailed"
    yield Case(name, "it was given up", _replicas("chat", ready="1x9", failed="1x9"), "4m", [Firing(_CHAT)])
    yield Case(name, "all are well", _replicas("chat", ready="2x9"), "4m")

    name = "HeadgateReplicaFailing"
    yield Case(name, "every fifth attempt fails", _attempts("0+80x20", "0+20x20"), "15m", [Firing(_CHAT_0, "20%")])
    yield Case(name, "every fiftieth does", _attempts("0+98x20", "0+2x20"), "15m")

    name = "HeadgateReplicaUnhealthy"
    yield Case(name, "its probes fail", _replicas("chat", ready="1x20", failing="1x20"), "8m", [Firing(_CHAT)])
    yield Case(name, "it has recovered", _replicas("chat", ready="1x20", failing="1x2 0x18"), "8m")

    name = "HeadgateRetriesOverBudget"
    yield Case(name, "the budget is used up", {_OVER_BUDGET: "0x2 0+5x20"}, "15m", [Firing(_CHAT)])
    yield Case(name, "it was, once", {_OVER_BUDGET: "0x2 5x20"}, "15m")

    name = "HeadgateStreamsCut"
    yield Case(name, "no replica could go on", {_CUT % "no_replica": "0x5 3x20"}, "10m", [Firing(_CHAT)])
    yield Case(name, "all were recovered", {_CUT % "recovered": "0x5 3x20", _CUT % "failed": "0x25"}, "10m")

    name = "HeadgateShedding"
    yield Case(name, "for minutes", {_SHED: "0x2 0+5x20"}, "15m", [Firing(_A)])
    yield Case(name, "once", {_SHED: "0x2 5x20"}, "15m")

    name = "HeadgateEventLoopLag"
    full = _lag("0+500x20", "0+600x20", "0+600x20")
    yield Case(name, "a sixth of the ticks is late", full, "15m", [Firing(_A, "97ms")])
    yield Case(name, "one in a thousand is", _lag("0+599x20", "0+600x20", "0+600x20"), "15m")

    name = "HeadgateFilesRunningOut"
    yield Case(name, "nine of ten", {_OPEN: "900x20", _MOST: "1000x20"}, "8m", [Firing({**_A, **job}, "90%")])
    yield Case(name, "half of them", {_OPEN: "500x20", _MOST: "1000x20"}, "8m")

    name = "HeadgateCountsCorrected"
    yield Case(name, "a slot was not given back", {_CORRECTED: "0x5 1x20"}, "10m", [Firing({**_A, "lease": "slot"})])
    yield Case(name, "all was released", {_CORRECTED: "0x25"}, "10m")

    name = "HeadgateEngineMetricsMissing"
    yield Case(name, "it has none", {_ENGINE: "0x30"}, "20m", [Firing(_CHAT_0)])
    yield Case(name, "it was too slow once", {_ENGINE: "1x5 0x2 1x20"}, "20m")

    name = "HeadgateConfigReloadFailed"
    yield Case(name, "a mistake in models.toml", {_RELOAD: "1x2 0x20"}, "10m", [Firing(_A)])
    yield Case(name, "it was mended at once", {_RELOAD: "1x2 0x2 1x20"}, "10m")

    yield Case("Watchdog", "always", {_UP: "1x5"}, "1m", [Firing()])


CASES = tuple(_cases())


def unit_tests(rules: str) -> dict[str, Any]:
    """Write all cases as promtool reads them; ``rules`` is the path of the rules, from the tests' folder."""
    return {"rule_files": [rules], "evaluation_interval": "1m", "tests": [case.yaml() for case in CASES]}
