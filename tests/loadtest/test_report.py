"""The report is one well-formed page that needs nothing from elsewhere, and every series is in it.

It is parsed here and not opened in a browser, because no Python package brings a browser without a download of its own.
There is no script in it, so what is parsed is all that a browser has to show.
"""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

from loadtest.ramp import Step
from loadtest.record import Record
from loadtest.report import Page, render
from loadtest.summary import summarise

SVG = "{http://www.w3.org/2000/svg}"
SLOS = {"ttft": 200.0}


def answers(ttft: float, number: int = 20, kind: str = "chat") -> list[Record]:
    return [
        Record(at, sent=at, first=at + ttft, last=at + ttft + 1, ended=at + ttft + 1, tokens_out=11, kind=kind)
        for at in map(float, range(number))
    ]


def page(records: list[Record]) -> Page:
    found = summarise(records, slos=SLOS)
    return Page(about="chat of sim", command="x --rate 1", found=found, series={"chat": records}, timeline=records)


def read(text: str) -> ET.Element:
    return ET.fromstring(text.removeprefix("<!DOCTYPE html>\n"))


def charts(root: ET.Element) -> dict[str, list[str]]:
    """Read the charts: title -> names of the lines that are drawn."""
    return {
        figure.findtext("figcaption", ""): [
            path.findtext(f"{SVG}title", "") for path in figure.iter(f"{SVG}path") if path.get("class") != "grid"
        ]
        for figure in root.iter("figure")
    }


def test_a_test_has_its_distributions_and_its_timeline() -> None:
    root = read(render(replace(page(answers(0.1)), queue=[(0.5, 0.0), (1.5, 3.0), (99.0, 1.0)])))
    assert charts(root) == {
        "Time to first token: share of requests": ["chat"],
        "Time per output token: share of requests": ["chat"],
        "End to end: share of requests": ["chat"],
        "Timeline": ["in flight, as the clients see it", "waiting, as the server says"],
    }
    tiles = dict(zip((e.text for e in root.iter("dt")), (e.text for e in root.iter("dd")), strict=True))
    assert tiles["answered"] == "20 of 20"
    assert tiles["ttft p99"] == "100.0 ms"


def test_a_ramp_has_goodput_against_rate_its_knee_and_its_steps() -> None:
    steps = [
        Step(rate, 20.0, records, summarise(records, slos=SLOS), reason)
        for rate, records, reason in ((1.0, answers(0.1), None), (2.0, answers(0.5), "ttft: too slow & <late>"))
    ]
    knee = {"knee_rate": 1.0, "next_rate": 2.0, "reason": "ttft: too slow"}
    series = {"1/s": steps[0].records, "2/s": steps[1].records}
    root = read(render(replace(page(answers(0.1)), steps=steps, knee=knee, series=series)))
    assert charts(root)["Goodput against rate"] == [
        "every request meets its objectives",
        "goodput: rate x share within",
        "knee, 1.00/s",
    ]
    assert charts(root)["Time to first token: share of requests"] == ["1/s", "2/s"]
    cells = [cell.text for cell in root.iter("td")]
    assert "ttft: too slow & <late>" in cells
    assert any("the knee is at 1.00/s" in (each.text or "") for each in root.iter("p"))


def test_a_comparison_has_its_table_and_a_line_for_each_target() -> None:
    rows = [["", "direct", "other"], ["ttft p50 ms", "10", "12  x 1.2 (1.1-1.3)"]]
    series = {"direct": answers(0.1), "other": answers(0.2)}
    compared = Page(about="a", command="b", found={"warnings": ["busy"]}, series=series, comparison=rows)
    root = read(render(compared))
    assert [cell.text for cell in root.iter("th")] == [None, "direct", "other"]
    assert charts(root)["End to end: share of requests"] == ["direct", "other"]
    assert "Timeline" not in charts(root)
    assert [each.text for each in root.iter("p") if each.get("class") == "warning"] == ["busy"]


def test_failures_and_nothing_but_failures() -> None:
    failed = [Record(0.0, sent=0.0, ended=1.0, error="status 503", detail="<full>", kind="chat")]
    root = read(render(page(failed)))
    assert "status 503: <full>" in [cell.text for cell in root.iter("td")]
    assert list(charts(root)) == ["Timeline"]


def test_nothing_is_fetched_or_run_and_light_and_dark_are_both_there() -> None:
    text = render(page(answers(0.1)))
    assert "<script" not in text
    assert not re.search(r"\b(src|href)=|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    style = text.partition("<style>")[2].partition("</style>")[0]
    used = set(re.findall(r"var\((--\w+)\)", style))
    assert {name: style.count(f"{name}: #") for name in used} == dict.fromkeys(used, 2)
