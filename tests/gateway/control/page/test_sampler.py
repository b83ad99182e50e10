"""What is sampled: who came and went and why, what was decided about requests, rates, quantiles and the hour."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gateway.control.page import sampler as sampler_module
from gateway.control.page.history import STEP_SECONDS
from gateway.control.page.journal import Decision, Journal
from gateway.control.page.sampler import Sampler
from gateway.control.scaling import TokenCounts
from gateway.core.context import RequestContext, RequestHead
from gateway.observe.counters import Counters
from gateway.pools.model import Model
from gateway.pools.registry import Registry
from gateway.pools.replica import ReplicaState
from tests.gateway.control.served import Plane
from tests.gateway.pools.made import Clock, model, replica

START = 1_000_000 * STEP_SECONDS
"""A Unix time at which a step begins."""


@dataclass
class Scene:
    """A gateway, and a sampler whose clock stands until it is moved."""

    clock: Clock
    plane: Plane = field(default_factory=Plane)
    counters: Counters = field(default_factory=Counters)
    journal: Journal = field(default_factory=Journal)
    sampler: Sampler = field(init=False)

    def __post_init__(self) -> None:
        self.sampler = Sampler(self.plane, lambda: self.counters, self.journal)

    async def after(self, seconds: float) -> None:
        """Let so many seconds pass, and look."""
        self.clock.now += seconds
        self.sampler.look(self.clock.now)
        await self.sampler.count(self.clock.now)

    def ended(self, name: str = "m", status: int = 200, *, seconds: float = 1.0, tokens: int = 0) -> None:
        """Count a request that has ended."""
        context = RequestContext(RequestHead("", endpoint="/v1/completions"), model=name, status=status)
        context.overhead = 0.001
        context.output_tokens = tokens
        context.first_token_at = context.received_at + seconds / 2
        self.counters.ended(context, context.received_at + seconds)

    @property
    def told(self) -> list[tuple[str, str, str, str]]:
        """All decisions, the oldest first: about what, what, why, and how often."""
        return [(each.replica or each.model, each.what, each.reason, f"{each.number}") for each in self._decisions]

    @property
    def _decisions(self) -> list[Decision]:
        return self.journal.latest()[::-1]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    clock = Clock(START)
    for name in ("monotonic", "time"):
        monkeypatch.setattr(sampler_module, name, clock)
    return Scene(clock)


async def test_replicas_that_come_fail_and_go_are_written_down_with_the_reason(scene: Scene) -> None:
    chat = model("m", replica("m-0"), replica("m-1"))
    scene.plane.registry = Registry([chat])
    await scene.after(1)
    chat.pool.replicas[0].set_state(ReplicaState.FAILING, "Connection refused.")
    await scene.after(1)
    chat.pool.remove(chat.pool.replicas[1])
    await scene.after(1)
    assert scene.told == [
        ("m-0", "added, ready", "", "1"),
        ("m-1", "added, ready", "", "1"),
        ("m-0", "ready → failing", "Connection refused.", "1"),
        ("m-1", "ready → removed", "", "1"),
    ]
    assert [each.bad for each in scene.journal.latest()] == [False, True, False, False]
    assert scene.sampler.seen["m-0"].since == START + 2


async def test_models_that_share_a_pool_have_its_replicas_once(scene: Scene) -> None:
    base = model("base", replica("base-0"))
    scene.plane.registry = Registry([base, Model("adapter", base.pool, tasks={"generate"})])
    await scene.after(1)
    assert scene.told == [("base-0", "added, ready", "", "1")]
    assert scene.sampler.all_rates["ready"] == 1


async def test_rates_are_over_the_step_so_far(scene: Scene) -> None:
    scene.plane.registry = Registry([model("m", replica("m-0"))])
    for _ in range(10):
        scene.ended(tokens=8, seconds=1.0)
    scene.ended(status=502, seconds=0.002)
    await scene.after(5)
    rates = scene.sampler.rates["m"]
    assert (rates["requests"], rates["errors"], rates["output_tokens"], rates["ready"]) == (11 / 5, 1 / 5, 16, 1)
    assert rates["ttft_p50"] == pytest.approx(0.5, rel=0.2)
    assert rates["e2e_p95"] == pytest.approx(1.0, rel=0.2)
    await scene.after(5)
    assert scene.sampler.rates["m"]["requests"] == 11 / 10


async def test_the_next_step_begins_at_nothing(scene: Scene) -> None:
    scene.plane.registry = Registry([model("m", replica("m-0"))])
    scene.ended()
    await scene.after(10)
    await scene.after(5)
    assert scene.sampler.rates["m"]["requests"] == 0
    assert scene.sampler.rates["m"]["e2e_p50"] is None
    ring = scene.sampler.history.of("m")
    assert ring is not None
    assert ring.read(int(scene.clock.now // STEP_SECONDS))["requests"][-2:] == [pytest.approx(0.1), 0.0]


async def test_tokens_are_those_of_the_last_minute_and_the_mean_of_all_requests_that_an_engine_was_asked_for(
    scene: Scene,
) -> None:
    scene.plane.registry = Registry([model("m", replica("m-0")), model("adapter", replica("m-1"))])
    scene.ended("m", tokens=900)
    scene.ended("adapter", tokens=300)
    await scene.after(10)
    assert scene.sampler.tokens(["m", "adapter"], scene.clock.now) == TokenCounts(per_request=600, per_second=120)
    assert scene.sampler.tokens(["m"], scene.clock.now) == TokenCounts(per_request=900, per_second=90)
    await scene.after(60)
    assert scene.sampler.tokens(["m"], scene.clock.now) == TokenCounts(per_request=900, per_second=0)
    assert scene.sampler.tokens(["unasked"], scene.clock.now) == TokenCounts(per_request=0, per_second=0)


async def test_all_models_together_and_those_that_nobody_asked(scene: Scene) -> None:
    scene.plane.registry = Registry([model(name, replica(f"{name}-0")) for name in ("a", "b", "c")])
    scene.ended("a", seconds=1.0)
    scene.ended("b", seconds=1.0)
    scene.ended("unknown", 404)
    await scene.after(2)
    assert scene.sampler.all_rates["requests"] == 3 / 2
    assert scene.sampler.rates.keys() == {"a", "b", "c"}
    assert scene.sampler.history.of("c") is None
    assert scene.sampler.history.of("unknown") is None


async def test_a_model_that_is_gone_is_forgotten(scene: Scene) -> None:
    scene.plane.registry = Registry([model("m", replica("m-0"))])
    scene.ended()
    await scene.after(2)
    scene.plane.registry = Registry([])
    await scene.after(2)
    assert scene.sampler.history.of("m") is None
    assert scene.sampler.rates == {}


async def test_what_was_decided_about_requests_is_written_down(scene: Scene) -> None:
    scene.plane.registry = Registry([model("m", replica("m-0"))])
    counted = scene.counters.of("m")
    counted.retries["retried"] = 3
    counted.retries["over_budget"] = 2
    counted.refused, counted.queue_timeouts = 4, 1
    counted.fallbacks["other"] += 1
    counted.recoveries["recovered"] = 1
    counted.recoveries["no_replica"] = 1
    await scene.after(2)
    await scene.after(2)
    assert scene.told[1:] == [
        ("m", "retried at another replica", "", "3"),
        ("m", "not retried, too many were", "", "2"),
        ("m", "refused, no slot in time", "", "5"),
        ("m", "asked of other instead", "", "1"),
        ("m", "stream whose replica died: recovered", "", "1"),
        ("m", "stream whose replica died: no_replica", "", "1"),
    ]
    counted.retries["retried"] = 5
    await scene.after(2)
    assert scene.told[-1] == ("m", "retried at another replica", "", "5")


async def test_other_processes_are_asked_first(scene: Scene) -> None:
    await scene.after(2)
    assert scene.plane.counted == 1


async def test_many_models_are_read_less_often_and_all_of_them(scene: Scene) -> None:
    scene.plane.registry = Registry([model("m", replica("m-0"))])
    assert scene.sampler.pause == 2
    scene.plane.registry = Registry([model(f"m{number}", replica(f"m{number}-0")) for number in range(1000)])
    assert scene.sampler.pause == STEP_SECONDS
    for number in range(1000):
        scene.ended(f"m{number}")
    await scene.after(10)
    assert scene.sampler.all_rates["requests"] == 100
    assert len(scene.sampler.rates) == 1000
    # As documentation says of a thousand models that are all asked.
    assert scene.sampler.history.size == 1001 * 12_480


async def test_the_sampler_tells_what_it_is(scene: Scene) -> None:
    scene.plane.registry = Registry([model("m", replica("m-0"))])
    await scene.after(1)
    assert repr(scene.sampler) == "<Sampler of 1 replicas, <History of 0 models [12480 bytes]>>"
