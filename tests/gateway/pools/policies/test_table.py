"""Every policy that a configuration may name is in the table."""

from __future__ import annotations

import pytest

from gateway.config.models import RemoteModel
from gateway.config.types import ALL_POLICIES, PolicyName
from gateway.pools.policies.table import POLICIES
from tests.gateway.pools.made import Request, pool, replica


@pytest.mark.parametrize("name", ALL_POLICIES)
def test_every_policy_picks_a_ready_replica_that_was_not_tried(name: PolicyName) -> None:
    settings = RemoteModel.model_validate({"engine": "remote", "urls": ["http://a"], "policy": name})
    replicas = [replica("a"), replica("b"), replica("c", ready=False), replica("d")]
    made = pool("m", *replicas, policy=POLICIES[name](settings))
    for request in (Request(), Request(session=b"s")):
        first = made.pick(request)
        second = made.pick(request, (first,))
        third = made.pick(request, (first, second))
        assert {first.name, second.name, third.name} == {"a", "b", "d"}


def test_the_session_policy_reads_the_header_of_the_configuration() -> None:
    asked: list[bytes] = []

    class Asked(Request):
        def session_key(self, header: bytes) -> bytes:
            asked.append(header)
            return b"s"

    options = {"policy": "session", "session_header": "X-Conversation"}
    settings = RemoteModel.model_validate({"engine": "remote", "urls": ["http://a"]} | options)
    pool("m", replica("a"), replica("b"), policy=POLICIES["session"](settings)).pick(Asked())
    assert asked == [b"x-conversation"]
