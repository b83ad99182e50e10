"""A dashboard: rows of panels placed on Grafana's grid, and the variables that all of its queries share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.monitoring.panels import DATASOURCE, Panel

GRID_WIDTH = 24
SCHEMA_VERSION = 41


@dataclass(frozen=True, slots=True)
class Row:
    """A heading and its panels, from left to right; a panel that no longer fits begins a line of its own."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard; ``uid`` is what links and the address name, so it never changes."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]

    @property
    def panels(self) -> list[Panel]:
        """All panels."""
        return [panel for row in self.rows for panel in row.panels]

    def json(self) -> dict[str, Any]:
        """Write what Grafana's provisioning and its import page read."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["headgate"],
            "schemaVersion": SCHEMA_VERSION,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "links": [_links()],
            "templating": {"list": _variables()},
            "annotations": {"list": [_restarts()]},
            "panels": list(self._placed()),
        }

    def _placed(self) -> Iterator[dict[str, Any]]:
        number, top = 1, 0
        for row in self.rows:
            place = {"h": 1, "w": GRID_WIDTH, "x": 0, "y": top}
            yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
            number, top = number + 1, top + 1
            for line in _lines(row.panels):
                left = 0
                for panel in line:
                    place = {"h": panel.height, "w": panel.width, "x": left, "y": top}
                    yield {"id": number, "gridPos": place, **panel.json()}
                    number, left = number + 1, left + panel.width
                top += max(panel.height for panel in line)


def _lines(panels: Sequence[Panel]) -> Iterator[list[Panel]]:
    """Break the panels of a row into lines that fit the grid."""
    line: list[Panel] = []
    for panel in panels:
        if sum(each.width for each in line) + panel.width > GRID_WIDTH:
            yield line
            line = []
        line.append(panel)
    if line:
        yield line


def _links() -> dict[str, Any]:
    """Lead to the other dashboards, with the same choice of models, gateways and time."""
    return {
        "type": "dashboards",
        "title": "Headgate",
        "tags": ["headgate"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
    }


def _variables() -> list[dict[str, Any]]:
    """Let people choose the Prometheus, the gateways and the models; the models' pools follow from these."""
    source = {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "hide": 0}
    return [
        {**source, "refresh": 1, "multi": False, "includeAll": False, "regex": "", "skipUrlSync": False},
        _labels("instance", "Gateway", "label_values(headgate_build_info, instance)"),
        _labels("model", "Model", 'label_values(headgate_model_info{instance=~"$instance"}, model)'),
        _labels("pool", "Pool", 'label_values(headgate_model_info{model=~"$model"}, pool)', hidden=True),
    ]


def _labels(name: str, label: str, query: str, *, hidden: bool = False) -> dict[str, Any]:
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        # A hidden variable has every value that its query finds; a pattern would also find other models' pools.
        **({} if hidden else {"allValue": ".*"}),
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 2 if hidden else 0,
        "regex": "",
        "skipUrlSync": hidden,
    }


def _restarts() -> dict[str, Any]:
    """Mark when a gateway was started."""
    return {
        "name": "Gateway started",
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "blue",
        "expr": 'changes(process_start_time_seconds{instance=~"$instance", replica=""}[1m]) > 0',
        "titleFormat": "{{instance}} was started",
    }
