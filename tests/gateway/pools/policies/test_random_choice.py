"""Every replica is as likely as any other."""

from __future__ import annotations

import random
from collections import Counter

from gateway.pools.policies.random_choice import RandomChoice
from tests.gateway.pools.made import Request, replica


def test_every_replica_gets_about_its_share() -> None:
    random.seed(5)
    policy, replicas = RandomChoice(), [replica(str(number)) for number in range(4)]
    picked = Counter(policy.pick(replicas, Request()).name for _ in range(4000))
    assert set(picked) == {"0", "1", "2", "3"}
    assert all(900 < count < 1100 for count in picked.values())
