"""Conversations in memory have a clock that stands still until a test moves it."""

from __future__ import annotations

import pytest

from tests.kit.playbook import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.install(monkeypatch)
