"""The generated files are those in the repository, and one that is out of date is named."""

from __future__ import annotations

from pathlib import Path

from deploy.monitoring.files import FOLDER, generated, stale, write


def test_the_generated_files_are_up_to_date() -> None:
    assert stale(FOLDER) == [], "make docs"


def test_no_dashboard_or_rule_stands_beside_the_generated_ones() -> None:
    folders = [FOLDER / each for each in ("grafana/dashboards", "prometheus/rules", "prometheus/tests")]
    found = {path.relative_to(FOLDER) for folder in folders for path in folder.iterdir()}
    assert found == generated().keys()


def test_what_was_changed_or_is_missing_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    assert stale(tmp_path) == []
    (tmp_path / "prometheus/rules/headgate.yml").write_text("groups: []\n")
    (tmp_path / "grafana/dashboards/headgate-gateway.json").unlink()
    assert stale(tmp_path) == ["grafana/dashboards/headgate-gateway.json", "prometheus/rules/headgate.yml"]
