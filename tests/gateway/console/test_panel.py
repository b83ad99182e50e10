"""The panel shows where to ask, how the replicas of each model are, and lines that can be pasted."""

from __future__ import annotations

import json
import re
import shlex

from gateway.config.schema import Config
from gateway.console.panel import Row, render, rows_of
from gateway.pools.discovered import Discovered
from gateway.pools.model import Model
from gateway.pools.registry import Registry
from gateway.pools.replica import ReplicaState
from tests.gateway.pools.made import model, replica
from tests.kit.gateways import remote

ADDRESS, CONTROL = "http://127.0.0.1:8000", "http://127.0.0.1:9000"

CONFIG = Config.model_validate({"models": {"m": remote("http://a", tasks=["generate"], adapters={})}})


def row_of(*models: Model) -> Row:
    """Give the row of the last of these models."""
    return rows_of(CONFIG, Registry(models))[-1]


def test_a_model_is_ready_when_all_its_replicas_are() -> None:
    assert row_of(model("m", replica("m-0"), replica("m-1"))) == Row("m", "remote", ("generate",), 2, 2, "ready")


def test_a_model_has_the_state_of_a_replica_that_is_not_ready_with_its_reason() -> None:
    made = model("m", replica("m-0"), replica("m-1"))
    made.pool.replicas[1].set_state(ReplicaState.FAILING, "Connection refused.")
    assert row_of(made) == Row("m", "remote", ("generate",), 1, 2, "failing", "Connection refused.")


def test_a_model_without_replicas_waits_for_a_request_or_for_its_source() -> None:
    asleep, lost = model("m"), model("m")
    asleep.pool.set_on_demand(on_demand=True)
    assert row_of(asleep).state == "scaled to zero until it is asked"
    lost.pool.discovered = Discovered("file /r.json", trouble="cannot be read")
    assert (row_of(lost).state, row_of(lost).reason) == ("nothing found", "file /r.json: cannot be read")


def test_an_adapter_is_ready_where_it_is_loaded() -> None:
    base = model("m", replica("m-0"), replica("m-1"))
    adapter = Model("sql", base.pool, tasks={"generate"}, parent=base, root="/sql")
    assert row_of(base, adapter) == Row("sql", "LoRA of m", ("generate",), 0, 2, "not loaded")
    base.pool.replicas[0].set_adapters(frozenset({"sql"}))
    assert row_of(base, adapter) == Row("sql", "LoRA of m", ("generate",), 1, 2, "ready")


def row(model: str, *tasks: str, ready: int = 1, state: str = "ready", reason: str = "") -> Row:
    return Row(model, "vllm", tasks, ready, 1, state, reason)


def test_the_panel_names_addresses_and_each_model_with_its_engine_and_state() -> None:
    rows = [row("chat", "generate"), row("guard", "classify", ready=0, state="failed", reason="no file\nno hope")]
    assert render(ADDRESS, CONTROL, rows, 12.4).splitlines()[:8] == [
        f"Headgate serves at {ADDRESS} (up after 12 s; metrics and probes at {CONTROL})",
        "",
        "  model  engine  replicas  state",
        "  chat   vllm    1/1       ready",
        "  guard  vllm    0/1       failed",
        "      no file",
        "      no hope",
        "",
    ]


def test_each_kind_of_model_has_a_line_to_paste() -> None:
    rows = [row("chat", "generate"), row("guard", "classify"), row("mini", "embed")]
    panel = render(ADDRESS, CONTROL, rows, 1.0)
    commands = [shlex.split(each) for each in re.findall(r"  (curl .*\\\n.*)", panel)]
    assert [(command[1], json.loads(command[-1])["model"]) for command in commands] == [
        (f"{ADDRESS}/v1/chat/completions", "chat"),
        (f"{ADDRESS}/classify", "guard"),
        (f"{ADDRESS}/v1/embeddings", "mini"),
    ]


def test_the_page_is_named_where_there_is_one() -> None:
    assert f"See and try it in a browser: {CONTROL}/\n" in render(ADDRESS, CONTROL, [], 1.0, page=f"{CONTROL}/")
    assert "browser" not in render(ADDRESS, CONTROL, [], 1.0)


def test_where_keys_are_asked_for_the_line_has_a_place_for_one() -> None:
    panel = render(ADDRESS, CONTROL, [row("chat", "generate")], 1.0, keyed=True)
    assert "-H 'authorization: Bearer YOUR_KEY' -H 'content-type" in panel


def test_a_model_that_cannot_answer_is_not_offered() -> None:
    assert "curl" not in render(ADDRESS, CONTROL, [row("chat", "generate", ready=0, state="failed")], 1.0)
