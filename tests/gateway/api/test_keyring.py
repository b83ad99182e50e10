"""A key has what it says itself and what its group says: the narrower, the earlier, and the limits of both."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from gateway.api.keyring import keyring_of, limited_owners
from gateway.config.gateway import GatewayConfig
from gateway.core.errors import LimitExceeded
from gateway.core.keys import Key
from gateway.core.limits import LocalUsage

NOW = 1_000_000_000_000


def keys_of(usage: LocalUsage | None = None, group: dict[str, Any] | None = None, **keys: dict[str, Any]) -> list[Key]:
    """Build keys of these ids, in the group ``team`` if there is one."""
    base = {} if group is None else {"group": "team"}
    entries = [{"id": name, "sha256": f"{at:064x}", **base, **key} for at, (name, key) in enumerate(keys.items())]
    groups = {} if group is None else {"team": group}
    config = GatewayConfig.model_validate({"keys": entries, "groups": groups})
    return list(keyring_of(config, usage or LocalUsage()))


def test_a_key_without_anything_may_do_everything() -> None:
    (key,) = keys_of(alice={})
    assert (key.models, key.endpoints, key.group, key.priority, key.expires, key.limits) == (
        frozenset(),
        frozenset(),
        "alice",
        0,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("own", "group", "name", "expected"),
    [
        ({}, {"models": ["m"]}, "models", {"m"}),
        ({"models": ["m"]}, {"models": ["m", "n"]}, "models", {"m"}),
        ({}, {"endpoints": ["/score"]}, "endpoints", {"/score"}),
        ({"endpoints": ["/score"]}, {}, "endpoints", {"/score"}),
        ({}, {"priority": 5}, "priority", 5),
        ({"priority": 0}, {"priority": 5}, "priority", 0),
        ({"expires": date(2030, 1, 2)}, {"expires": date(2030, 1, 1)}, "expires", date(2030, 1, 1)),
        ({"expires": date(2030, 1, 2)}, {}, "expires", date(2030, 1, 2)),
        ({}, {}, "group", "team"),
        ({}, {}, "tune", False),
        ({"tune": True}, {}, "tune", True),
        ({}, {"tune": True}, "tune", True),
        ({"tune": False}, {"tune": True}, "tune", False),
        ({"tune": True}, {"tune": False}, "tune", False),
    ],
)
def test_a_key_and_its_group_go_together(
    own: dict[str, Any], group: dict[str, Any], name: str, expected: object
) -> None:
    (key,) = keys_of(group=group, alice=own)
    assert getattr(key, name) == expected


def test_the_limits_of_a_group_are_for_its_keys_together() -> None:
    alice, bob = keys_of(group={"limits": {"requests_per_day": 2}}, alice={"limits": {"requests_per_day": 1}}, bob={})
    assert alice.limits is not None
    assert bob.limits is not None
    alice.limits.admit(0, 0, NOW)
    with pytest.raises(LimitExceeded, match="key 'alice'"):
        alice.limits.admit(0, 0, NOW)
    bob.limits.admit(0, 0, NOW)
    with pytest.raises(LimitExceeded, match="group 'team'"):
        bob.limits.admit(0, 0, NOW)


def test_what_was_used_counts_on_when_keys_are_built_anew() -> None:
    usage = LocalUsage()
    left = []
    for limit in (3, 5):
        (key,) = keys_of(usage, alice={"limits": {"requests_per_minute": limit}})
        assert key.limits is not None
        key.limits.admit(0, 0, NOW)
        left += [number for number, _ in key.limits.left(NOW)]
    assert left == [2, 3]


def test_owners_without_limits_are_left_out() -> None:
    config = GatewayConfig.model_validate(
        {
            "groups": {"a": {"limits": {"max_in_flight": 1}}, "b": {"limits": {}}},
            "keys": [{"id": "c", "sha256": "0" * 64, "limits": {"tokens_per_day": 1}}, {"id": "d", "sha256": "1" * 64}],
        }
    )
    assert list(limited_owners(config)) == ["group 'a'", "key 'c'"]
