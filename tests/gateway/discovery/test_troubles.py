"""What is wrong is said once, however often it happens."""

from __future__ import annotations

import pytest

from gateway.discovery.troubles import Troubles


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def troubles(said: list[str]) -> Troubles:
    return Troubles("discovery of 'm'", said.append)


def test_a_trouble_is_said_once_and_so_is_its_end(troubles: Troubles, said: list[str]) -> None:
    for stays in range(3):
        troubles.begin(f"no file; {stays} stay", kind="no file")
    assert repr(troubles) == "<Troubles of discovery of 'm' [unresolved]>"
    troubles.over()
    troubles.over()
    assert said == ["discovery of 'm': no file; 0 stay", "discovery of 'm': works again"]


def test_a_trouble_that_comes_and_goes_is_said_once_in_five_minutes(
    troubles: Troubles, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("gateway.discovery.troubles.monotonic", lambda: now)
    for _ in range(100):
        troubles.begin("no file", kind="no file")
        troubles.over()
    assert len(said) == 2
    now += 300.0
    troubles.begin("no file", kind="no file")
    assert len(said) == 3


def test_each_kind_is_said(troubles: Troubles, said: list[str]) -> None:
    troubles.begin("no file", kind="no file")
    troubles.begin("no JSON", kind="no JSON")
    assert troubles.tell("has 7 addresses", kind="too many")
    assert not troubles.tell("has 8 addresses", kind="too many")
    assert [line.removeprefix("discovery of 'm': ") for line in said] == ["no file", "no JSON", "has 7 addresses"]
