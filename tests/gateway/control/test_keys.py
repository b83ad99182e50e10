"""Keys and groups are shown with their limits and what they have used, and nothing that opens a door."""

from __future__ import annotations

import json
from hashlib import sha256

from gateway.api.keyring import keyring_of
from gateway.config.gateway import GatewayConfig
from gateway.control.keys import keys_and_groups
from gateway.core.limits import LocalUsage

DIGEST = sha256(b"sk-alice").hexdigest()


def test_each_key_and_group_is_shown_with_what_it_has_used() -> None:
    config = GatewayConfig.model_validate(
        {
            "groups": {"team": {"limits": {"tokens_per_day": 1000}, "expires": "2030-01-01"}},
            "keys": [
                {
                    "id": "alice",
                    "sha256": DIGEST,
                    "group": "team",
                    "models": ["m"],
                    "limits": {"max_in_flight": 2, "requests_per_minute": 60},
                },
                {"id": "bob", "sha256": sha256(b"sk-bob").hexdigest(), "priority": 5},
            ],
        }
    )
    keys = list(keyring_of(config, LocalUsage()))
    assert keys[0].limits is not None
    keys[0].limits.admit(100, 20, 1_000_000_000_000)
    shown = keys_and_groups(keys, 1_000.0)
    assert shown == {
        "keys": [
            {
                "id": "alice",
                "group": "team",
                "priority": 0,
                "models": ["m"],
                "endpoints": [],
                "expires": "2030-01-01",
                "limits": {
                    "max_in_flight": {"limit": 2, "used": 1},
                    "requests_per_minute": {"limit": 60, "used": 1},
                },
            },
            {
                "id": "bob",
                "group": "bob",
                "priority": 5,
                "models": [],
                "endpoints": [],
                "expires": None,
                "limits": {},
            },
        ],
        "groups": [{"name": "team", "limits": {"tokens_per_day": {"limit": 1000, "used": 120}}}],
    }
    assert DIGEST not in json.dumps(shown)
