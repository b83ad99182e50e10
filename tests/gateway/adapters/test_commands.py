"""LoRA adapters are loaded and unloaded while the gateway runs, or a command says why not and changes nothing."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.core.errors import BadRequest, GatewayError, ModelNotFound, Unavailable
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.faults import Faults
from tests.engines.tiny_adapter import write_adapter
from tests.gateway.pools.lora import asked, listed, loaded, states, two_engines
from tests.kit.eventually import eventually
from tests.kit.gateways import gateway, remote


def key(name: str, **options: Any) -> dict[str, Any]:
    return {"id": name, "sha256": sha256(name.encode()).hexdigest(), **options}


async def test_an_adapter_is_loaded_and_unloaded_by_command(tmp_path: Path) -> None:
    sql = str(write_adapter(tmp_path / "sql"))
    async with (
        two_engines(tmp_path) as (one, two),
        gateway({"m": remote(one.address, two.address, adapters={})}) as running,
    ):
        await eventually(lambda: len(running.gateway.plane.registry.pools[0].ready) == 2, within=30)
        assert (await asked(running, "sql")).status == 404
        await running.gateway.commands.load_adapter("sql", "m", sql)
        assert (await asked(running, "sql")).json["model"] == "sql"
        assert loaded(one) == loaded(two) == {"sql": sql}
        await running.gateway.commands.unload_adapter("sql")
        assert (await asked(running, "sql")).status == 404
        assert loaded(one) == loaded(two) == {}
        with pytest.raises(ModelNotFound, match="There is no adapter 'sql'"):
            await running.gateway.commands.unload_adapter("sql")


@pytest.mark.parametrize(
    ("name", "base", "code", "words"),
    [
        ("sql", "nobody", "model_not_found", "There is no model 'nobody' to load an adapter of; there are: m, plain."),
        ("sql", "plain", "adapters_not_enabled", "an empty table [models.plain.adapters] lets them be loaded"),
        ("alias", "m", "name_taken", "'alias' is a model, an alias or an adapter already."),
        ("two words", "m", None, "The name 'two words' is none that a model can have."),
        ("bad", "m", "adapter_refused", "No adapter found for /nowhere"),
    ],
)
async def test_a_command_that_cannot_be_obeyed_says_why_and_changes_nothing(
    name: str, base: str, code: str | None, words: str, tmp_path: Path
) -> None:
    async with two_engines(tmp_path) as (one, _):
        models = {"m": remote(one.address, adapters={}, aliases=["alias"]), "plain": remote(one.address)}
        async with gateway(models) as running:
            before = await listed(running)
            with pytest.raises(GatewayError) as caught:
                await running.gateway.commands.load_adapter(name, base, "/nowhere")
            assert isinstance(caught.value, BadRequest)
            assert caught.value.code == code
            assert words in caught.value.message
            assert await listed(running) == before
            assert loaded(one) == {}


@pytest.mark.parametrize(
    ("canary", "keys", "groups", "users"),
    [
        ({"model": "sql", "weight": 5}, [], {}, "models.plain.canary"),
        (None, [key("alice", models=["sql"]), key("bob")], {}, "the key 'alice'"),
        (None, [key("alice", group="team")], {"team": {"models": ["plain", "sql"]}}, "gateway.groups.team"),
    ],
    ids=["canary", "key", "group"],
)
async def test_an_adapter_that_is_to_be_used_elsewhere_is_not_unloaded(
    canary: Any, keys: Any, groups: Any, users: str, tmp_path: Path
) -> None:
    sql = str(write_adapter(tmp_path / "sql"))
    async with two_engines(tmp_path) as (one, two):
        models = {"m": remote(one.address, adapters={"sql": sql}), "plain": remote(two.address, canary=canary)}
        async with gateway(models, keys=keys, groups=groups) as running:
            await eventually(lambda: loaded(one) == {"sql": sql}, within=30)
            with pytest.raises(
                BadRequest, match=f"^The adapter 'sql' is named by {users}; take it out there first"
            ) as no:
                await running.gateway.commands.unload_adapter("sql")
            assert no.value.code == "adapter_in_use"
            assert loaded(one) == {"sql": sql}
            assert running.gateway.plane.registry.find("sql").name == "sql"


async def test_an_adapter_for_engines_that_are_not_ready_yet_is_loaded_when_they_are(tmp_path: Path) -> None:
    sql = str(write_adapter(tmp_path / "sql"))
    async with (
        SimulatedEngine("m", uds=tmp_path / "a", lora=True, faults=Faults(unhealthy=True)) as one,
        gateway({"m": remote(one.address, adapters={})}, ready=[]) as running,
    ):
        await running.gateway.commands.load_adapter("sql", "m", sql)
        assert states(running, "sql") == {"m-0": "pending"}
        one.faults = Faults()
        await running.until_ready(["m"])
        assert (await asked(running, "sql")).json["model"] == "sql"


async def test_a_command_that_the_configuration_cannot_follow_says_why_and_changes_nothing(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("127.0.0.1")
    both = tmp_path / "both.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(both)
    sql, poet = (str(write_adapter(tmp_path / name)) for name in ("sql", "poet"))
    async with two_engines(tmp_path) as (one, two):
        models = {"m": remote(one.address, two.address, adapters={"sql": sql})}
        async with gateway(models, tls_certificate=both, tls_key=both) as running:
            commands = running.gateway.commands
            await eventually(lambda: len(running.gateway.plane.registry.pools[0].ready) == 2, within=30)
            valid = both.read_bytes()
            both.write_bytes(b"no certificate")
            for command in (commands.load_adapter("poet", "m", poet), commands.unload_adapter("sql")):
                with pytest.raises(Unavailable, match=r"^Cannot read .*both\.pem") as caught:
                    await command
                assert caught.value.code == "configuration_refused"
                assert states(running, "sql") == {"m-0": "loaded", "m-1": "loaded"}
                assert loaded(one) == loaded(two) == {"sql": sql}
            both.write_bytes(valid)
            await commands.load_adapter("other", "m", poet)
            assert loaded(one) == loaded(two) == {"sql": sql, "other": poet}
