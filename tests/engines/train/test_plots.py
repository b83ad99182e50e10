"""Plots are SVG that parses, and say what they show."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from engines.train.plots import calibration, confusion, curves, grouped_bars, smoothed


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(svg).iter() if each.tag.endswith(("}text", "}title"))]


def test_curves_have_names_and_axes() -> None:
    svg = curves("<loss>", {"training": [(1, 2.0), (100, 0.5)], "validation": [(100, 0.6)]}, x="step", y="loss")
    assert {"<loss>", "training", "validation", "step", "loss", "100", "2"} <= set(texts(svg))
    assert svg.count("<polyline") == 2


def test_the_matrix_counts_answers_by_label() -> None:
    svg = confusion("c", ["cat", "dog"], [[3, 1], [0, 4]])
    assert {"cat", "dog", "3", "1", "4", "cat → dog: 1"} <= set(texts(svg))


def test_many_classes_are_named_on_their_cells_only() -> None:
    labels = [f"class {n}" for n in range(77)]
    svg = confusion("c", labels, [[int(row == column) for column in range(77)] for row in range(77)])
    assert "class 76 → class 76: 1" in texts(svg)
    assert "class 76" not in texts(svg)


def test_calibration_has_a_dot_for_each_bin() -> None:
    svg = calibration("c", [(0.6, 0.5, 10), (0.95, 0.9, 90)])
    assert svg.count("<circle") == 2
    assert "90 answers, confidence 0.95, accuracy 0.90" in texts(svg)


def bars(svg: str) -> list[float]:
    return [float(each.attrib["width"]) for each in ET.fromstring(svg).iter() if each.get("height") == "11"]


def test_bars_of_all_series_have_one_scale() -> None:
    svg = grouped_bars("<b>", "%", {"one": {"typos": 50.0, "case": 0.0}, "two": {"typos": 100.0, "case": 25.0}})
    half, whole, none, quarter = bars(svg)
    assert (half, none, quarter) == (whole / 2, 0, whole / 4)
    assert {"<b>", "one", "two", "typos", "case", "%", "50.0", "two, case: 25.0 %"} <= set(texts(svg))


def test_one_series_alone_needs_no_name_and_nothing_may_be_all_there_is() -> None:
    svg = grouped_bars("b", "%", {"one": {"typos": 0.0}})
    assert bars(svg) == [0.0]
    assert "one" not in texts(svg)


def test_a_curve_is_smoothed_over_a_twentieth() -> None:
    points = [(float(at), float(at % 2)) for at in range(40)]
    assert smoothed(points)[1:4] == [(1.0, 0.5), (2.0, 0.5), (3.0, 0.5)]
    assert smoothed(points[:10]) == points[:10]
