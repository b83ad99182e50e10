"""The kinds of panels, and the JSON that Grafana reads of each (schema version 41, Grafana 10 and later)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any, ClassVar

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

OK, WARNING, BAD = "green", "orange", "red"


@dataclass(frozen=True, slots=True)
class Query:
    """One expression; ``legend`` names its series, with labels as ``{{label}}``."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """From which values on a panel changes its colour, in the panel's unit."""

    warning: float
    bad: float
    low_is_bad: bool = False

    def steps(self) -> list[dict[str, Any]]:
        """Write the colours from the lowest value up, as Grafana wants them."""
        if self.low_is_bad:
            colours = [(BAD, None), (WARNING, self.bad), (OK, self.warning)]
        else:
            colours = [(OK, None), (WARNING, self.warning), (BAD, self.bad)]
        return [{"color": colour, "value": value} for colour, value in colours]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What every panel has; ``unit`` is one of Grafana's, sizes are in cells of the grid, which is 24 wide."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    width: int = 8
    height: int = 8
    limits: Limits | None = None
    decimals: int | None = None

    kind: ClassVar[str]
    instant: ClassVar[bool] = False
    """Whether only the latest value is asked for."""
    format: ClassVar[str] = "time_series"

    def json(self) -> dict[str, Any]:
        """Write the panel without its place."""
        return {
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "fieldConfig": {"defaults": self.defaults(), "overrides": self.overrides()},
            "options": self.options(),
            "targets": [self._target(*numbered) for numbered in zip(ascii_uppercase, self.queries, strict=False)],
        }

    def defaults(self) -> dict[str, Any]:
        """Say how values are shown."""
        shown: dict[str, Any] = {"unit": self.unit}
        if self.decimals is not None:
            shown["decimals"] = self.decimals
        if self.limits is not None:
            shown["thresholds"] = {"mode": "absolute", "steps": self.limits.steps()}
        return shown

    def overrides(self) -> list[dict[str, Any]]:
        """Say what is different for some of the series."""
        return []

    def options(self) -> dict[str, Any]:
        """Say what only this kind of panel has."""
        raise NotImplementedError

    def _target(self, letter: str, query: Query) -> dict[str, Any]:
        return {
            "refId": letter,
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": query.expression,
            "legendFormat": query.legend or "__auto",
            "format": self.format,
            "instant": self.instant,
            "range": not self.instant,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines(Panel):
    """Values over time; ``stacked`` where their sum means something."""

    kind = "timeseries"
    stacked: bool = False

    def defaults(self) -> dict[str, Any]:
        """Draw thin lines from zero on, with a dashed one at each limit."""
        custom = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if self.stacked else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if self.limits else "off"},
        }
        return {**Panel.defaults(self), "min": 0, "color": {"mode": "palette-classic"}, "custom": custom}

    def options(self) -> dict[str, Any]:
        """List mean, highest and last value of each line below."""
        return {
            "legend": {
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": True,
                "calcs": ["mean", "max", "lastNotNull"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Panel):
    """The latest value as a number, with its course behind it."""

    kind = "stat"
    width: int = 3
    height: int = 4

    def defaults(self) -> dict[str, Any]:
        """Colour the number by its limits."""
        return {**Panel.defaults(self), "color": {"mode": "thresholds"}}

    def options(self) -> dict[str, Any]:
        """Show the last value that there is."""
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value",
            "graphMode": "area",
            "textMode": "auto",
            "justifyMode": "auto",
            "orientation": "auto",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap(Panel):
    """How observations of a histogram are distributed, over time."""

    kind = "heatmap"
    format = "heatmap"

    def defaults(self) -> dict[str, Any]:
        """The cells are numbers of observations: the unit is that of the axis."""
        return {"custom": {"scaleDistribution": {"type": "linear"}}}

    def options(self) -> dict[str, Any]:
        """Take buckets as they are."""
        return {
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": True},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": self.unit},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches(Panel):
    """When each of several things was on (1) and off (0)."""

    kind = "state-timeline"
    width: int = 12
    words: tuple[str, str] = ("no", "yes")
    """What 0 and 1 mean."""

    def defaults(self) -> dict[str, Any]:
        """Colour and name the two values."""
        shown = zip(("0", "1"), self.words, (BAD, OK), strict=True)
        options = {value: {"text": word, "color": colour} for value, word, colour in shown}
        return {
            **Panel.defaults(self),
            "color": {"mode": "thresholds"},
            "custom": {"fillOpacity": 70, "lineWidth": 0},
            "mappings": [{"type": "value", "options": options}],
        }

    def options(self) -> dict[str, Any]:
        """Merge equal values into one bar."""
        return {
            "mergeValues": True,
            "showValue": "never",
            "rowHeight": 0.9,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table: an expression's value, or one of the labels (``expression`` is empty then)."""

    title: str
    expression: str = ""
    label: str = ""
    unit: str = "short"
    limits: Limits | None = None
    link: str = ""
    """Where a click leads; ``${__value.text}`` stands for the cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Panel):
    """The latest values, one row for each combination of labels that all columns have in common."""

    kind = "table"
    instant = True
    format = "table"
    width: int = 24
    columns: Sequence[Column] = field(default=())
    sort_by: str = ""

    @classmethod
    def of(cls, columns: Sequence[Column], **others: Any) -> Table:
        """Make a table whose queries are its columns' expressions."""
        queries = [Query(column.expression) for column in columns if column.expression]
        return cls(columns=columns, queries=queries, unit="short", **others)

    def json(self) -> dict[str, Any]:
        """Join the columns, and name them."""
        return {**Panel.json(self), "transformations": self._transformations()}

    def options(self) -> dict[str, Any]:
        """Sort by one of the columns, the highest first."""
        order = [{"displayName": self.sort_by, "desc": True}] if self.sort_by else []
        return {"showHeader": True, "cellHeight": "sm", "sortBy": order}

    def overrides(self) -> list[dict[str, Any]]:
        """Give each column its own unit, colours and link."""
        return [
            {"matcher": {"id": "byName", "options": column.title}, "properties": _properties(column)}
            for column in self.columns
        ]

    def _transformations(self) -> list[dict[str, Any]]:
        letters = iter(ascii_uppercase)
        alone = len(self.queries) == 1
        names = {
            (column.label or ("Value" if alone else f"Value #{next(letters)}")): column.title for column in self.columns
        }
        places = {name: place for place, name in enumerate(names)}
        organize = {"excludeByName": {"Time": True}, "indexByName": places, "renameByName": names}
        return [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]


def _properties(column: Column) -> list[Mapping[str, Any]]:
    properties: list[Mapping[str, Any]] = [{"id": "unit", "value": column.unit}]
    if column.limits is not None:
        steps = column.limits.steps()
        properties.append({"id": "thresholds", "value": {"mode": "absolute", "steps": steps}})
        properties.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
    if column.link:
        link = {"title": f"Show {column.title.lower()} ${{__value.text}}", "url": column.link, "targetBlank": False}
        properties.append({"id": "links", "value": [link]})
    return properties
