"""The page on metrics has every metric that a scrape shows, with its labels, and no other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.config.schema import Config
from gateway.control.engine_metrics import EngineMetrics
from gateway.observe.counters import Counters
from gateway.observe.exposition import Exposition
from gateway.pools.discovered import Discovered
from gateway.pools.model import Model
from gateway.pools.registry import Registry
from gateway.scaling.decide import ScalingRule
from gateway.scaling.scaler import ScaledModel
from gateway.tuning.client import TuningClient
from gateway.tuning.job_tally import JobTally
from tests.gateway.pools.made import model, replica

PAGE = (Path(__file__).parent.parent.parent / "docs/metrics.md").read_text(encoding="utf-8")
NAME = r"\b(?:headgate|process)_[a-z_]+"


@pytest.fixture(scope="module")
def scrape() -> str:
    """What both paths show of a gateway that has counted something in every family."""
    chat = model("chat", replica("chat-0"), slo={"ttft": 0.5})
    chat.pool.discovered = Discovered("file replicas.json")
    sql = Model("chat-sql", chat.pool, tasks=chat.tasks, parent=chat)
    registry, counters, engines = Registry([chat, sql]), Counters(), EngineMetrics()
    counters.of("chat").fallbacks["small"] += 1
    counters.key_input_tokens["research"] += 1
    counters.key_refused("research", "expired")
    engines.add("chat", "chat-0", None)
    exposition = Exposition(lambda: counters, lambda: registry, "1.0", "abc")
    scaled = ScaledModel("chat", ScalingRule(0, 2, 8.0, 300.0), registry.find("chat").pool, 1, start_seconds=40.0)
    exposition.scaled = lambda: [scaled]
    exposition.limits_shared = exposition.ray_up = True
    tuned = {"engine": "onnx", "source": "/m", "tasks": ["embed"], "tuning": {"source": "/w"}}
    tally = JobTally(TuningClient(Config.model_validate({"models": {"chat": tuned}})))
    exposition.tuning_jobs = lambda: tally
    return (exposition.text() + generate_latest(engines)).decode()


@pytest.fixture(scope="module")
def labels(scrape: str) -> Mapping[str, set[str]]:
    """The labels of each metric, by its name; a histogram's is without the suffixes of its series."""
    return {
        family.name if family.type == "histogram" else sample.name: {*sample.labels} - {"le"}
        for family in text_string_to_metric_families(scrape)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def series(scrape: str) -> Mapping[str, set[str]]:
    """The labels of all series of a name, as expressions select them."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(scrape):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def table() -> dict[str, set[str]]:
    """Read the tables of the page: the labels of each metric."""
    rows = [line.split("|")[1:3] for line in PAGE.splitlines() if line.startswith("| `")]
    return {name: set(re.findall(r"`(\w+)`", labels)) for names, labels in rows for name in re.findall(NAME, names)}


def test_every_family_has_something_to_show(scrape: str) -> None:
    assert [family.name for family in text_string_to_metric_families(scrape) if not family.samples] == []


def test_the_tables_have_every_metric_with_its_labels_and_no_other(labels: Mapping[str, set[str]]) -> None:
    assert table() == labels


def test_every_name_on_the_page_is_that_of_a_metric(
    labels: Mapping[str, set[str]], series: Mapping[str, set[str]]
) -> None:
    assert set(re.findall(NAME, PAGE)) - labels.keys() - series.keys() == set()


def test_expressions_select_series_by_labels_that_they_have(series: Mapping[str, set[str]]) -> None:
    selected = re.findall(rf"({NAME}){{([^}}]*)}}", PAGE)
    assert selected
    for name, matchers in selected:
        assert set(re.findall(r"(\w+)(?:=|!)", matchers)) <= series[name], name


def test_expressions_group_by_labels_that_their_series_have(series: Mapping[str, set[str]]) -> None:
    grouped = re.findall(rf"by \(([^)]*)\) \((?:rate\()?({NAME})", PAGE)
    assert grouped
    for names, name in grouped:
        assert set(names.split(", ")) <= series[name], name
