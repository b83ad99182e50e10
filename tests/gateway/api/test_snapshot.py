"""What the data plane decides by is taken over from the configuration, once."""

from __future__ import annotations

from hashlib import sha256

import pytest

from gateway.api.snapshot import Snapshot
from gateway.config.gateway import GatewayConfig
from gateway.core.limits import LocalUsage
from gateway.pools.registry import Registry


def test_keys_origins_and_limits_are_those_of_the_configuration() -> None:
    config = GatewayConfig.model_validate(
        {
            "keys": [{"id": "alice", "sha256": sha256(b"sk-a").hexdigest(), "models": ["m"]}],
            "cors_origins": ["https://chat.example.com"],
            "limits": {"max_json_depth": 7, "max_n": 2},
        }
    )
    snapshot = Snapshot.of(config, Registry([]), LocalUsage())
    assert snapshot.keyring.find({b"authorization": b"Bearer sk-a"}).models == {"m"}
    assert snapshot.origins == {b"https://chat.example.com"}
    assert (snapshot.max_json_depth, snapshot.max_n) == (7, 2)


def test_without_keys_everyone_may_ask() -> None:
    snapshot = Snapshot.of(GatewayConfig(), Registry([]), LocalUsage())
    assert "0 keys" in repr(snapshot.keyring)


def test_a_snapshot_never_changes_and_is_only_itself() -> None:
    one, other = (Snapshot.of(GatewayConfig(), Registry([]), LocalUsage()) for _ in range(2))
    assert one != other
    with pytest.raises(AttributeError):
        one.max_n = 3  # type: ignore[misc]
