"""What the pages show is true: their examples are valid, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config.load import load

ROOT = Path(__file__).parent.parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "locks/README.md")),
    *sorted(page for folder in ("deploy", "docs") for page in (ROOT / folder).rglob("*.md")),
]
EXAMPLES = [
    pytest.param(page, block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
]


@pytest.mark.parametrize(("page", "example"), EXAMPLES)
def test_each_example_of_a_configuration_is_valid(page: Path, example: str, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text(f"alice {'0' * 64}\n")
    (tmp_path / "models.toml").write_text(example)
    assert load(tmp_path / "models.toml").models


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_within_the_repository_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_page_is_found_from_the_readme() -> None:
    found, unread = set[Path](), [ROOT / "README.md"]
    while unread:
        page = unread.pop()
        found.add(page)
        targets = re.findall(r"\]\((?!https?:)([^)#]+\.md)", page.read_text())
        unread += {(page.parent / target).resolve() for target in targets} - found
    assert found == set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_to_a_heading_finds_it(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
        assert anchor in anchors(page.parent / target if target else page), f"{target}#{anchor}"
