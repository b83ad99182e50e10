"""What the gateway answers by itself is asked for as users do: with the official SDK."""

from __future__ import annotations

import pytest

from tests.kit.authorities import forget_authorities


@pytest.fixture(autouse=True)
def plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_authorities(monkeypatch)
