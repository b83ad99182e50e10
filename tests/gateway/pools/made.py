"""Replicas, pools, models and requests as tests want them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.core.context import RequestContext, RequestHead
from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool
from gateway.pools import admission, slots
from gateway.pools.admission import Admission
from gateway.pools.model import Model
from gateway.pools.policies.policy import Policy
from gateway.pools.policies.prompt_blocks import Prompt
from gateway.pools.policies.round_robin import RoundRobin
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica

NO_PROMPT = Prompt(0, (), 0.0)


@dataclass(eq=False)
class Request:
    """A request as a policy sees it."""

    session: bytes = b""
    context: RequestContext = field(default_factory=lambda: RequestContext(RequestHead(""), model="m"))
    prompt: Prompt = NO_PROMPT
    streams: bool = True
    max_tokens: int = 0
    adapter: str | None = None

    def session_key(self, header: bytes) -> bytes:
        """Give the session, whatever header is asked for."""
        return self.session


def replica(name: str, *, ready: bool = True, in_flight: int = 0) -> Replica:
    made = Replica(name, ConnectionPool(Address.parse(f"unix:/run/{name}.sock"), connect_timeout=1.0), ready=ready)
    for _ in range(in_flight):
        made.load.entered()
    return made


def pool(name: str, *replicas: Replica, policy: Policy | None = None, hedge: bool = False) -> Pool:
    return Pool(name, replicas, policy=policy or RoundRobin(), admission=Admission(8, max_queue=8), hedge=hedge)


def model(name: str, *replicas: Replica, tasks: Sequence[str] = ("generate",), **options: Any) -> Model:
    """Make a model with a pool of its own."""
    return Model(name, pool(name, *replicas), tasks=tasks, **options)


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: float = 1000.0

    @classmethod
    def installed(cls, monkeypatch: pytest.MonkeyPatch) -> Clock:
        """Let admission look at a clock like this."""
        clock = cls()
        for module in (admission, slots):
            monkeypatch.setattr(module, "perf_counter", clock)
        return clock

    def __call__(self) -> float:
        return self.now
