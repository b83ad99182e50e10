"""Each code of an error that the gateway makes is explained on a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core import errors
from gateway.core.errors import GatewayError

ROOT = Path(__file__).parent.parent.parent
EXPLAINED = {
    code
    for page in sorted((ROOT / "docs").glob("*.md"))
    for code in re.findall(r"`([a-z_]+)`", page.read_text(encoding="utf-8"))
}


def codes() -> Iterator[str]:
    """Those of the classes of errors, and those that are given where an error is raised."""
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, GatewayError) and error.code:
            yield error.code
    for file in (ROOT / "gateway").rglob("*.py"):
        yield from re.findall(r'\bcode="([a-z_]+)"', file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("code", sorted(set(codes())))
def test_a_code_is_explained(code: str) -> None:
    assert code in EXPLAINED
