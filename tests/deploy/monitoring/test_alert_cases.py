"""Each alert fires when it must and is silent when it must be, as Prometheus itself finds."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from deploy.monitoring.alert_cases import CASES
from deploy.monitoring.alerts import ALERTS, Alert
from tests.kit.prometheus import SETTINGS, needs_prometheus


def promtool(tests: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", "test", "rules", tests], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent(alert: Alert) -> None:
    fires = {bool(case.fires) for case in CASES if case.alert == alert.name}
    assert fires == ({True} if alert.name == "Watchdog" else {True, False})


def test_what_people_get_to_read_has_nothing_left_to_fill_in() -> None:
    written = str([case.yaml()["alert_rule_test"] for case in CASES])
    assert "{{" not in written
    assert "Only 90% of the streams of chat begin in time" in written


@pytest.mark.slow
@needs_prometheus
def test_alerts_fire_and_are_silent() -> None:
    found = promtool(SETTINGS / "tests/headgate.yml")
    assert found.returncode == 0, found.stdout


@needs_prometheus
def test_an_alert_that_does_not_fire_is_found(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.alert == "HeadgateReplicaFailed" and case.fires)
    rules = (SETTINGS / "rules/headgate.yml").read_text().replace('state=~"failed"', 'state=~"never"')
    (tmp_path / "rules.yml").write_text(rules)
    cases = (SETTINGS / "tests/headgate.yml").read_text()
    head, *each = re.split(r"^(?=- name:)", cases, flags=re.MULTILINE)
    kept = next(text for text in each if case.yaml()["name"] in text)
    (tmp_path / "tests.yml").write_text(head.replace("../rules/headgate.yml", "rules.yml") + kept)
    found = promtool(tmp_path / "tests.yml")
    assert found.returncode != 0
    assert "An engine of chat was given up" in found.stdout + found.stderr
