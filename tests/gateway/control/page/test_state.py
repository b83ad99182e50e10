"""What is shown: all models with a line each, one model with everything, and nothing that grows without bound."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.control.page.history import COLUMNS, STEPS
from gateway.control.page.journal import Decision, Journal, Kind
from gateway.control.page.sampler import Sampler
from gateway.control.page.state import PageState
from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import UpstreamFailed
from gateway.observe.counters import Counters
from gateway.pools.model import Model
from gateway.pools.registry import Registry
from gateway.pools.replica import ReplicaState
from gateway.scaling.decide import ScalingRule
from gateway.scaling.scaler import ScaledModel
from tests.gateway.control.served import Plane, view_of
from tests.gateway.pools.made import model, replica


class Scene:
    """A gateway of these models, and what is shown of it after it was looked at."""

    def __init__(self, *models: Model) -> None:
        self.plane, self.counters, self.journal = Plane(Registry(models)), Counters(), Journal()
        self.sampler = Sampler(self.plane, lambda: self.counters, self.journal)
        self.state = PageState(view_of(self.plane), self.sampler, self.journal)

    async def look(self) -> None:
        self.sampler.look(1_000.0)
        await self.sampler.count(1_000.0)

    async def overview(self) -> Any:
        """Give it as a browser gets it."""
        await self.look()
        return msgspec.json.decode(msgspec.json.encode(self.state.overview()))

    async def model(self, name: str) -> Any:
        await self.look()
        return msgspec.json.decode(msgspec.json.encode(self.state.model(name)))


async def test_the_overview_has_a_line_for_each_model() -> None:
    scene = Scene(model("a", replica("a-0", in_flight=2), replica("a-1", ready=False)), model("b", tasks=["classify"]))
    state = await scene.overview()
    first, second = state["models"]
    assert (first["model"], first["ready"], first["states"]) == ("a", 1, {"ready": 1, "starting": 1})
    assert (first["limit"], first["waiting"], first["tasks"]) == (8, 0, ["generate"])
    assert (second["model"], second["ready"], second["states"], second["tasks"]) == ("b", 0, {}, ["classify"])
    assert state["gateway"] | {"uptime_seconds": 0} == {
        "uptime_seconds": 0,
        "draining": False,
        "troubles": [],
        "processes": [],
        "models": 2,
        "models_ready": 1,
        "in_trouble": [],
    }
    assert (state["now"]["replicas_ready"], state["now"]["replicas"]) == (1, 2)


async def test_what_is_not_ready_is_named_with_its_reason() -> None:
    chat = model("a", replica("a-0"))
    chat.pool.replicas[0].set_state(ReplicaState.FAILING, "Connection refused.")
    state = await Scene(chat).overview()
    (bad,) = state["not_ready"]
    assert (bad["replica"], bad["state"], bad["reason"], bad["since"]) == (
        "a-0",
        "failing",
        "Connection refused.",
        1000,
    )
    assert state["gateway"]["in_trouble"] == ["a-0"]


async def test_of_a_thousand_failing_replicas_some_are_named_and_all_are_counted() -> None:
    scene = Scene(*(model(f"m{each}", replica(f"m{each}-0", ready=False)) for each in range(1000)))
    state = await scene.overview()
    assert (len(state["not_ready"]), state["not_ready_total"], len(state["models"])) == (50, 1000, 1000)
    assert len(state["decisions"]) == 50
    assert len(msgspec.json.encode(state)) < 600_000


async def test_the_hour_has_columns_of_one_length() -> None:
    state = await Scene(model("a", replica("a-0"))).overview()
    assert {name: len(column) for name, column in state["history"].items() if name != "step_seconds"} == dict.fromkeys(
        ["times", *COLUMNS], STEPS
    )
    assert state["history"]["requests"][0] is None


async def test_a_model_is_shown_with_replicas_queue_and_totals() -> None:
    chat = model("a", replica("a-0", in_flight=3), aliases=["gpt-4"], fallback=["b"])
    scene = Scene(chat, model("b"))
    counted = scene.counters.of("a")
    counted.attempts["ok"]["a-0"] += 7
    counted.attempts["failed"]["a-0"] += 1
    counted.output_tokens = 90
    shown = await scene.model("a")
    (first,) = shown["replicas"]
    assert (first["replica"], first["in_flight"], first["state"]) == ("a-0", 3, "ready")
    assert (first["attempts"]["ok"], first["attempts"]["failed"]) == (7, 1)
    assert shown["queue"] == {"max_queue": 8, "open": True, "tokens_in_flight": 0, "classes": {}}
    assert (shown["aliases"], shown["fallback"], shown["policy"]) == (["gpt-4"], ["b"], "RoundRobin")
    assert shown["totals"]["tokens"]["output"] == 90
    # Nobody has asked it in this hour.
    assert shown["history"] is None


async def test_tokens_of_adapters_count_for_the_model_that_is_scaled() -> None:
    base = model("base", replica("base-0"))
    adapter = Model("adapter", base.pool, tasks=["generate"], parent=base)
    scene = Scene(base, adapter, model("other"))
    for name in ("base", "adapter", "other"):
        context = RequestContext(RequestHead("", endpoint="/v1/completions"), model=name, status=200)
        context.overhead, context.output_tokens = 0.001, {"base": 100, "adapter": 300, "other": 5000}[name]
        scene.counters.ended(context, context.received_at)
    await scene.look()
    scaled = ScaledModel("base", ScalingRule(0, 4, 8.0, 300.0), base.pool, 1)
    for moment in range(2):
        scaled.history.served(float(moment), running=0, waiting=moment, answers=0)
    shown = scene.state.scaling(scaled)
    assert shown is not None
    assert shown["tokens_demanded"] == 200.0
    assert scene.state.scaling(None) is None


async def test_a_model_shows_its_own_errors_and_decisions_and_those_of_its_pool() -> None:
    base = model("base", replica("base-0"))
    scene = Scene(base, Model("adapter", base.pool, tasks={"generate"}), model("other"))
    for name in ("adapter", "other"):
        head = RequestHead("", endpoint="/v1/completions")
        scene.counters.errors.add(RequestContext(head, name, model=name, status=502), UpstreamFailed("Gone."))
        scene.journal.add(Decision(1.0, Kind.RETRY, "retried", name))
    shown = await scene.model("adapter")
    assert [each["model"] for each in shown["recent_errors"]] == ["adapter"]
    assert {each["model"] for each in shown["decisions"]} == {"adapter", "base"}
    assert shown["shares_pool_with"] == ["base"]


async def test_a_model_that_there_is_not_is_not_shown() -> None:
    assert await Scene().model("a") is None


async def test_with_several_processes_the_classes_of_the_queue_are_not_known_here() -> None:
    scene = Scene(model("a"))
    scene.plane.processes = [{"pid": 1, "serving": True, "connections": 0}]
    assert (await scene.model("a"))["queue"]["classes"] is None


def test_the_repr_tells_of_how_many_models() -> None:
    assert repr(Scene(model("a")).state) == "<PageState of 1 models>"
