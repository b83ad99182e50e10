"""Each alert says what it is about, and the runbook what to do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from deploy.monitoring.alerts import ALERTS, CRITICAL, NONE, RECORDINGS, WARNING, Alert
from deploy.monitoring.everything import DASHBOARDS
from gateway.observe.counters import Counters
from tests.kit.prometheus import SETTINGS, needs_prometheus

ROOT = Path(__file__).parent.parent.parent.parent
RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")

every_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)


def section(alert: Alert) -> str:
    """What the runbook says of an alert."""
    return RUNBOOK.partition(f"\n## {alert.name}\n")[2].partition("\n## ")[0]


@every_alert
def test_the_runbook_says_what_it_means_how_to_see_it_and_what_to_do(alert: Alert) -> None:
    said = section(alert)
    assert [word for word in ("**Means**", "**See**", "**Do**") if word not in said] == []


def test_the_runbook_has_no_alert_that_there_is_not() -> None:
    names = re.findall(r"^## (\S+)$", RUNBOOK, re.MULTILINE)
    assert [name for name in names if name.startswith("Headgate") or name == "Watchdog"] == [a.name for a in ALERTS]


@every_alert
def test_its_annotation_leads_to_the_runbook(alert: Alert) -> None:
    page, _, anchor = alert.annotations()["runbook"].partition("#")
    assert (ROOT / page).exists()
    assert anchor == alert.name.lower()


@every_alert
def test_it_is_urgent_in_one_of_three_ways(alert: Alert) -> None:
    assert alert.severity in {CRITICAL, WARNING, NONE}
    assert alert.yaml()["labels"] == {"severity": alert.severity}


@every_alert
def test_only_one_that_waits_has_a_time_to_wait(alert: Alert) -> None:
    assert ("for" in alert.yaml()) == bool(alert.lasting)


def test_what_is_recorded_is_used() -> None:
    expressions = " ".join(alert.expression for alert in ALERTS)
    assert [rule.name for rule in RECORDINGS if rule.name not in expressions] == []
    assert [rule.yaml()["record"] for rule in RECORDINGS] == [rule.name for rule in RECORDINGS]


def test_objectives_are_bounds_of_their_histograms() -> None:
    metrics = Counters().of("m")
    asked = {
        float(bound)
        for alert in ALERTS
        for bound in re.findall(r'first_token_seconds_bucket{le="(.*?)"}', alert.expression)
    }
    assert asked
    assert asked <= set(metrics.first_token.bounds)


@needs_prometheus
def test_prometheus_accepts_the_settings_and_the_rules() -> None:
    checked = subprocess.run(
        ["promtool", "check", "config", SETTINGS / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert f"SUCCESS: {len(RECORDINGS) + len(ALERTS)} rules found" in checked.stdout


@pytest.mark.parametrize("page", ["runbook.md", "operating.md", "metrics.md"])
def test_each_panel_that_a_page_sends_people_to_exists(page: str) -> None:
    titles = dict(zip(("Overview", "Scaling", "Gateway"), DASHBOARDS, strict=True))
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for dashboard, title in re.findall(r"\*(\w+)\s\u203a\s([^*]+)\*", text):
        assert " ".join(title.split()) in {panel.title for panel in titles[dashboard].panels}
