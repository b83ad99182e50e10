"""What the page for operators says of a reload is what a reload does."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.reload.reloader import AT_START

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"


def test_it_names_each_option_that_is_read_at_the_start_only() -> None:
    found = re.search(r"used for new connections\. (.*?) are read at the start only", PAGE.read_text(), re.DOTALL)
    assert found is not None
    assert sorted(re.findall(r"`(\w+)`", found[1])) == sorted(AT_START)
