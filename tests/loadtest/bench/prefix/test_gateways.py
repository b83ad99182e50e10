"""Each gateway is a command: ours with a policy, one that is given, or a peer with its own options."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from loadtest.bench.launch import DidNotStart
from loadtest.bench.peer_gateways import ROUTERS
from loadtest.bench.prefix.gateways import OUR_POLICIES, given, ours, peers, running
from loadtest.http_client import HttpClient
from loadtest.simulator import SimulatedEngine

ENGINES = ["http://127.0.0.1:1", "http://127.0.0.1:2"]


@pytest.mark.parametrize("policy", OUR_POLICIES)
def test_ours_is_configured_with_the_policy_and_all_engines(policy: str, tmp_path: Path) -> None:
    candidate = ours(policy)
    command = candidate.command(tmp_path, 8000, ENGINES, 1000)
    model = tomllib.loads((tmp_path / "models.toml").read_text())["models"]["sim"]
    assert (candidate.name, candidate.ours) == (f"headgate {policy}", True)
    assert "127.0.0.1:8000" in command
    assert (model["policy"], model["urls"]) == (policy, ENGINES)
    assert model.get("prefix_cache_tokens") == (1000 if policy == "prefix" else None)


def test_any_other_is_given_as_a_command(tmp_path: Path) -> None:
    candidate = given("mine=router --port {port} --on=x:{port} --to {urls} --level=a=b")
    assert (candidate.name, candidate.ours) == ("mine", False)
    assert candidate.command(tmp_path, 81, ENGINES, 1) == [
        *("router", "--port", "81", "--on=x:81", "--to", *ENGINES, "--level=a=b")
    ]
    assert given("prefix=ours").name == "headgate prefix"


@pytest.mark.parametrize("option", ["", "mine", "=run {port} {urls}", "mine=run {port}", "mine=run {urls}"])
def test_what_is_no_command_is_refused_with_what_was_expected(option: str) -> None:
    with pytest.raises(
        ValueError, match=r"is no gateway: expected NAME=COMMAND, with \{port\} and, as a word, \{urls\}"
    ):
        given(option)


async def test_the_peers_route_by_prefix_and_those_that_cannot_be_had_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtest.bench.prefix.gateways.default_cache", lambda: tmp_path)
    first, *others = ROUTERS
    there = tmp_path / "bench" / f"{first.name}-{first.version}"
    there.mkdir(parents=True)
    (there / "installed").touch()
    monkeypatch.setattr("loadtest.bench.environments.sys.executable", "/bin/false")
    found, left_out = await peers(lambda _: None)
    assert [each.name for each in found] == [f"{first.name} cache_aware"]
    assert list(left_out) == [each.name for each in others]
    command = list(found[0].command(tmp_path, 81, ENGINES, 1))
    assert command[0] == str(there / "bin" / first.start[0])
    at = command.index("--worker-urls")
    assert command[at : at + 5] == ["--worker-urls", *ENGINES, "--policy", "cache_aware"]


@pytest.mark.slow
async def test_a_gateway_runs_once_it_has_answered_for_each_engine() -> None:
    async with SimulatedEngine("sim") as one, SimulatedEngine("sim") as other:
        async with (
            running(ours("round_robin"), [one.address, other.address], 1) as server,
            HttpClient(server.address) as c,
        ):
            assert (await c.get("/health")).status == 200
        assert one.received
        assert other.received


async def test_one_that_does_not_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(DidNotStart, match="false ended with status 1"):
        async with running(given("none=false {port} {urls}"), ENGINES, 1):
            raise AssertionError("it runs")
