"""A job asks for what its replica needs, holds no secret where people look, and is found again by what it says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engines.ray.cluster import RayCluster
from engines.ray.head import Head
from engines.ray.jobs import Job
from engines.ray.order import VARIABLE, Order
from engines.ray.submission import instance_of, is_ours, new_job, placed_of, runs
from engines.spec import EngineSpec, FolderSource, RayDemand

DEMAND = RayDemand(
    cpus=2.0,
    memory=1_000_000,
    resources={"fast_disk": 1.0},
    labels={"zone": "a"},
    runtime_env={"image_uri": "headgate:1", "env_vars": {"A": "b"}},
)


def spec(**changes: object) -> EngineSpec:
    known: dict[str, object] = {"model": "org/chat", "engine": "vllm", "source": FolderSource(Path("/m")), "gpus": 1}
    return EngineSpec(**known | {"ray": DEMAND} | changes)  # type: ignore[arg-type]


def head(name: str = "headgate", token_file: Path | None = None) -> Head:
    file = None if token_file is None else str(token_file)
    return Head(RayCluster("http://h:8265", name, file, ports=(20_007, 20_008), python="/opt/python"), lambda _: None)


def submitted(job: Mapping[str, Any], status: str = "RUNNING") -> Job:
    return Job(status, submission_id=job["submission_id"], metadata=job["metadata"])


def test_it_asks_for_what_the_replica_needs_and_for_something_always() -> None:
    placed, job = new_job(head(), spec(), "org/chat-ray0")
    assert job["entrypoint"] == "exec /opt/python -m engines.ray"
    assert {name: value for name, value in job.items() if name.startswith("entrypoint_")} == {
        "entrypoint_num_cpus": 2.0,
        "entrypoint_num_gpus": 1,
        "entrypoint_memory": 1_000_000,
        "entrypoint_resources": {"fast_disk": 1.0},
        "entrypoint_label_selector": {"zone": "a"},
    }
    variables = job["runtime_env"]["env_vars"]
    assert job["runtime_env"]["image_uri"] == "headgate:1"
    assert variables["A"] == "b"
    order = Order.read({VARIABLE: variables[VARIABLE]})
    assert (order.port, order.key) == (placed.port, placed.key)
    assert placed.port in (20_007, 20_008)
    assert new_job(head(), spec(ray=RayDemand(), gpus=0), "m-ray0")[1]["entrypoint_num_cpus"] == 1.0


def test_its_id_is_the_name_of_a_file_and_comes_once() -> None:
    placed, job = new_job(head(), spec(), "org/chat-ray0")
    assert placed.submission_id == job["submission_id"]
    assert placed.submission_id.startswith("headgate-org_chat-ray0-")
    assert new_job(head(), spec(), "org/chat-ray0")[0].submission_id != placed.submission_id


def test_with_a_token_nobody_learns_the_key_from_what_the_dashboard_shows(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t0ken")
    placed, job = new_job(head(token_file=token), spec(), "m-ray0")
    assert placed.key not in str(job)
    assert placed.key not in repr(placed)
    assert placed_of(head(token_file=token), submitted(job)) == placed
    token.write_text("other")
    assert placed_of(head(token_file=token), submitted(job)).key != placed.key


def test_a_gateway_of_the_same_name_finds_it_again() -> None:
    _, job = new_job(head(), spec(), "m-ray0")
    assert is_ours(head(), submitted(job))
    assert runs(head(), submitted(job), spec())
    assert instance_of(submitted(job)) not in ("", head().instance)
    assert not is_ours(head("other"), submitted(job))
    assert not is_ours(head(), submitted(job, "FAILED"))
    assert not is_ours(head(), Job("RUNNING", submission_id="a"))
    assert not is_ours(head(), Job("RUNNING", submission_id="a", metadata=job["metadata"] | {"headgate_port": "x"}))


@pytest.mark.parametrize(
    "changes", [{"gpus": 2}, {"env": {"A": "b"}}, {"args": {"seed": 1}}, {"ray": RayDemand()}], ids=str
)
def test_one_that_runs_something_else_is_not_what_a_replica_is_to_be(changes: dict[str, Any]) -> None:
    _, job = new_job(head(), spec(), "m-ray0")
    assert not runs(head(), submitted(job), spec(**changes))


def test_a_token_that_cannot_be_read_is_told_by_what_asks_the_head(tmp_path: Path) -> None:
    placed, _ = new_job(head(token_file=tmp_path / "none"), spec(), "m-ray0")
    assert len(placed.key) == 64
