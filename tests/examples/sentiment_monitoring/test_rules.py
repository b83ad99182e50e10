"""``examples/sentiment_monitoring``: the rules do what they say, and Grafana and a real Prometheus read all of it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from examples.sentiment_monitoring.sentiment_metrics import Metrics
from examples.sentiment_monitoring.trends import Rule, Trend
from tests.deploy.monitoring.test_everything import lost, read_by_grafana
from tests.kit.prometheus import Prometheus, needs_prometheus, scraping

FOLDER = Path(__file__).parent.parent.parent.parent / "examples/sentiment_monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
QUERIES = [query["expr"] for panel in DASHBOARD["panels"] for query in panel.get("targets", [])]
VARIABLES = {"$__rate_interval": "10s", "$instance": ".*"}
"""What Grafana would fill in."""

SCRAPES = 4


def test_grafana_knows_every_key_of_the_dashboard() -> None:
    assert list(lost(DASHBOARD, read_by_grafana(DASHBOARD))) == []


def test_dashboard_and_rules_name_no_metric_that_there_is_not() -> None:
    there = {sample.name for family in Metrics().registry.collect() for sample in family.samples}
    named = set(re.findall(r"sentiment_\w+", (FOLDER / "rules.yml").read_text() + " ".join(QUERIES)))
    assert named - {"sentiment_monitoring"} <= there  # The program is named in a comment.


@needs_prometheus
def test_the_rules_do_what_they_say() -> None:
    command = ["promtool", "test", "rules", str(FOLDER / "rules_test.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@needs_prometheus
async def test_a_real_prometheus_answers_each_query_and_raises_the_alerts(tmp_path: Path) -> None:
    metrics, trend = Metrics(), Trend(Rule(short=2, long=4, least=2, raise_at=1.0))
    for negative in (False, False, True, True):
        trend.add(negative)
    metrics.show("products", trend)
    with metrics.serving("127.0.0.1:0") as address:
        async with scraping(tmp_path, [address], FOLDER / "rules.yml") as prometheus:
            while await prometheus.fewest_scrapes() < SCRAPES:
                metrics.count("products", "negative")
                metrics.message("lost")
            for query in QUERIES:
                for name, value in VARIABLES.items():
                    query = query.replace(name, value)
                assert await prometheus.query(query), query
            while {"NegativeShareJumped", "WebhookLosesAlerts"} - await firing(prometheus):
                metrics.message("lost")
            groups = (await prometheus.get("rules"))["groups"]
    (ours,) = [group["rules"] for group in groups if group["name"] == "sentiment"]
    assert [rule["health"] for rule in ours] == ["ok"] * 4


async def firing(prometheus: Prometheus) -> set[str]:
    """Name the alerts that fire now."""
    alerts = (await prometheus.get("alerts"))["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}
