"""The start-up display has a line for each model, which says how its replicas are."""

from __future__ import annotations

from gateway.config.schema import Config
from gateway.console import Row
from gateway.panel import rows_of
from gateway.pools.discovered import Discovered
from gateway.pools.model import Model
from gateway.pools.registry import Registry
from gateway.pools.replica import ReplicaState
from tests.gateway.pools.made import model, replica
from tests.kit.gateways import remote

CONFIG = Config.model_validate({"models": {"m": remote("http://a", tasks=["generate"], adapters={})}})


def row(*models: Model) -> Row:
    """Give the row of the last of these models."""
    return rows_of(CONFIG, Registry(models))[-1]


def test_a_model_is_ready_when_all_its_replicas_are() -> None:
    assert row(model("m", replica("m-0"), replica("m-1"))) == Row("m", "remote", ("generate",), 2, 2, "ready")


def test_a_model_has_the_state_of_a_replica_that_is_not_ready_with_its_reason() -> None:
    made = model("m", replica("m-0"), replica("m-1"))
    made.pool.replicas[1].set_state(ReplicaState.FAILING, "Connection refused.")
    assert row(made) == Row("m", "remote", ("generate",), 1, 2, "failing", "Connection refused.")


def test_a_model_without_replicas_waits_for_a_request_or_for_its_source() -> None:
    asleep, lost = model("m"), model("m")
    asleep.pool.set_on_demand(on_demand=True)
    assert row(asleep).state == "scaled to zero until it is asked"
    lost.pool.discovered = Discovered("file /r.json", trouble="cannot be read")
    assert (row(lost).state, row(lost).reason) == ("nothing found", "file /r.json: cannot be read")


def test_an_adapter_is_ready_where_it_is_loaded() -> None:
    base = model("m", replica("m-0"), replica("m-1"))
    adapter = Model("sql", base.pool, tasks={"generate"}, parent=base, root="/sql")
    assert row(base, adapter) == Row("sql", "LoRA of m", ("generate",), 0, 2, "not loaded")
    base.pool.replicas[0].set_adapters(frozenset({"sql"}))
    assert row(base, adapter) == Row("sql", "LoRA of m", ("generate",), 1, 2, "ready")
