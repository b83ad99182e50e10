"""Whatever the locks install and ``models.toml`` downloads is in the record of licences, and nothing else is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def rows(heading: str) -> dict[str, str]:
    """Read one table of the page: package name -> last cell."""
    page = (ROOT / "docs/licences.md").read_text(encoding="utf-8")
    section = page.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return {
        cells[1].strip(" `"): cells[-2].strip()
        for cells in (line.split("|") for line in section.splitlines())
        if len(cells) > 2 and "`" in cells[1]
    }


def test_each_locked_package_has_its_licence() -> None:
    locked = {
        name
        for lock in ("gateway", "engines-cpu", "engines-gpu", "torch", "dev")
        for name in re.findall(r"^([a-z0-9._-]+)==", (ROOT / f"locks/{lock}.txt").read_text(), re.MULTILINE)
    }
    recorded: dict[str, str] = {}
    for heading in ("The gateway", "Engines on a CPU", "Engines on a GPU", "Tests and tools"):
        recorded |= rows(heading)
    assert recorded.keys() == locked
    assert "" not in recorded.values()


def test_each_model_file_has_its_licence() -> None:
    models = tomllib.loads((ROOT / "models.toml").read_text(encoding="utf-8"))["models"].values()
    sources = [table["source"] for model in models for table in (model, model.get("tuning")) if table]
    packages = {source["package"].split("==")[0] for source in sources}
    assert rows("Model files").keys() == packages
