"""The dashboards are what Grafana reads, and between them and the alerts they show every metric that there is."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins

from deploy.monitoring.alerts import ALERTS, RECORDINGS
from deploy.monitoring.dashboard import GRID_WIDTH, Dashboard
from deploy.monitoring.everything import DASHBOARDS, ON_NO_PANEL
from engines.onnx.serving.metrics import Metrics

PAGE = (Path(__file__).parent.parent.parent.parent / "docs/metrics.md").read_text(encoding="utf-8")
NAME = r"\b(?:headgate|process)_[a-z_]+"
PARTS_OF_HISTOGRAMS = re.compile("_(bucket|sum|count)$")

LABELS_OF_PROMETHEUS = {"instance", "job", "le"}

every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)


def documented() -> dict[str, set[str]]:
    """Read the tables of the page on metrics: the labels of each; ``tests/docs`` compares them with a scrape."""
    rows = [line.split("|")[1:3] for line in PAGE.splitlines() if line.startswith("| `")]
    return {name: set(re.findall(r"`(\w+)`", labels)) for names, labels in rows for name in re.findall(NAME, names)}


def of_onnx_engines() -> set[str]:
    """What the ONNX engine shows, which is relayed."""
    metrics = Metrics("m")
    return set(re.findall(NAME, metrics.exposition("")[0].decode()))


def shown() -> set[str]:
    """Every expression of a panel."""
    return {query.expression for dashboard in DASHBOARDS for panel in dashboard.panels for query in panel.queries}


def alerted_on() -> set[str]:
    return {rule.expression for rule in RECORDINGS} | {rule.expression for rule in ALERTS}


def named(expressions: set[str]) -> set[str]:
    """The metrics of the gateway that expressions name, histograms without the suffixes of their series."""
    names = {name for each in expressions for name in re.findall(rf"(?<!:){NAME}", each)}
    return {PARTS_OF_HISTOGRAMS.sub("", name) for name in names}


def lost(written: Any, read: Any, at: str = "") -> Iterator[str]:
    """Name what Grafana's own model has not taken over."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            if key in read:
                yield from lost(value, read[key], f"{at}.{key}")
            else:
                yield f"{at}.{key}"
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for number, (mine, its) in enumerate(zip(written, read, strict=True)):
            yield from lost(mine, its, f"{at}[{number}]")
    elif written != read:
        yield f"{at}: {written!r} became {read!r}"


def read_by_grafana(written: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        # It would rather have the next version of the format, which Grafana 10 and 11 do not read.
        warnings.simplefilter("ignore", DeprecationWarning)
        from grafana_foundation_sdk.models.dashboard import Dashboard as GrafanaDashboard
    register_default_plugins()
    return json.loads(json.dumps(GrafanaDashboard.from_json(written), cls=JSONEncoder))


@every_dashboard
def test_grafana_knows_every_key(dashboard: Dashboard) -> None:
    written = json.loads(json.dumps(dashboard.json()))
    assert list(lost(written, read_by_grafana(written))) == []


@pytest.mark.parametrize("place", ["", "fieldConfig", "options"])
def test_a_key_that_grafana_does_not_know_is_found(place: str) -> None:
    written = json.loads(json.dumps(DASHBOARDS[0].json()))
    panel = written["panels"][1]
    (panel[place] if place else panel)["misspelt"] = 1
    assert [each.rpartition(".")[2] for each in lost(written, read_by_grafana(written))] == ["misspelt"]


@every_dashboard
def test_no_panel_overlaps_another_or_leaves_the_grid(dashboard: Dashboard) -> None:
    places = [panel["gridPos"] for panel in dashboard.json()["panels"]]
    assert all(at["x"] >= 0 and at["x"] + at["w"] <= GRID_WIDTH for at in places)
    for one, other in combinations(places, 2):
        apart_across = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart_across or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


@every_dashboard
def test_each_panel_says_what_it_shows_and_in_which_unit(dashboard: Dashboard) -> None:
    assert len({panel.title for panel in dashboard.panels}) == len(dashboard.panels)
    for panel in dashboard.panels:
        assert panel.description.endswith("."), panel.title
        assert panel.unit, panel.title
        assert panel.queries, panel.title


def test_dashboards_have_addresses_and_titles_of_their_own() -> None:
    assert len({each.uid for each in DASHBOARDS}) == len({each.title for each in DASHBOARDS}) == len(DASHBOARDS) == 3


def test_every_metric_is_on_a_panel_or_is_an_exception_with_a_reason() -> None:
    assert documented().keys() - named(shown()) == ON_NO_PANEL.keys()


def test_every_metric_that_is_asked_for_exists() -> None:
    unknown = named(shown() | alerted_on()) - documented().keys()
    assert {name for name in unknown if name not in of_onnx_engines()} == set()


def test_series_are_selected_by_labels_that_they_have() -> None:
    labels = documented()
    for name, matchers in re.findall(rf"(?<!:)({NAME}){{([^}}]*)}}", "\n".join(shown() | alerted_on())):
        if (family := PARTS_OF_HISTOGRAMS.sub("", name)) not in labels:
            continue
        relayed = {"model", "replica"} if name.startswith("process_") else set()
        chosen = set(re.findall(r"(\w+)(?:=|!)", matchers))
        assert chosen <= labels[family] | LABELS_OF_PROMETHEUS | relayed, name


def test_series_are_grouped_by_labels_that_they_have() -> None:
    labels = documented()
    for names, name in re.findall(rf"by \(([^)]*)\) \((?:\w+\()?({NAME})", "\n".join(shown() | alerted_on())):
        family = PARTS_OF_HISTOGRAMS.sub("", name)
        if family in labels:
            relayed = {"replica"} if name.startswith("process_") else set()
            assert set(names.split(", ")) <= labels[family] | LABELS_OF_PROMETHEUS | relayed, name
