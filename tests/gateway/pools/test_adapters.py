"""Every replica has the LoRA adapters that the models want, as far as its engine takes them.

The engines are simulated ones, which load, list and unload adapters as vLLM does; the gateway is a whole one.
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from gateway.app import Gateway
from gateway.config.schema import Config
from gateway.console.startup_log import StartupLog
from gateway.reload.reloader import ConfigSource
from tests.engines.tiny_adapter import write_adapter
from tests.gateway.pools.lora import asked, listed, loaded, reason, states, two_engines
from tests.kit.eventually import eventually
from tests.kit.gateways import RunningGateway, gateway, remote


async def test_adapters_of_the_configuration_are_loaded_before_a_replica_is_ready(tmp_path: Path) -> None:
    sql = str(write_adapter(tmp_path / "sql"))
    async with two_engines(tmp_path) as (one, two):
        models = {"m": remote(one.address, two.address, adapters={"sql": sql}, tasks=["generate"])}
        async with gateway(models) as running:
            await running.until_ready(["m"])
            assert (await asked(running, "sql")).json["model"] == "sql"
            assert (await asked(running, "m")).json["model"] == "m"
            card = (await listed(running))["sql"]
            assert (card["parent"], card["root"], card["max_model_len"]) == ("m", sql, 1_048_576)
            assert 'headgate_adapter_loaded{model="sql",replica="m-0"} 1' in await running.metrics()


async def test_a_request_for_an_adapter_goes_only_where_it_is_loaded(tmp_path: Path) -> None:
    sql = str(write_adapter(tmp_path / "sql"))
    async with two_engines(tmp_path) as (one, two):
        two.adapters = None
        models = {"m": remote(one.address, two.address, adapters={"sql": sql}, policy="round_robin")}
        async with gateway(models) as running:
            await eventually(lambda: states(running, "sql") == {"m-0": "loaded", "m-1": "failed"}, within=30)
            for _ in range(4):
                assert (await asked(running, "sql")).status == 200
            assert reason(running, "sql") == (
                "the engine loads no adapters while it runs; a vLLM does with --enable-lora and "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
            )


async def test_an_adapter_that_does_not_load_is_told_and_its_base_serves(tmp_path: Path) -> None:
    bad = write_adapter(tmp_path / "bad")
    (bad / "adapter_model.safetensors").rename(bad / "adapter_model.bin")
    async with two_engines(tmp_path) as (one, _):
        models = {"m": remote(one.address, adapters={"bad": str(bad), "far": "/nowhere/far"})}
        async with gateway(models) as running:
            assert (await asked(running, "m")).status == 200
            answer = await asked(running, "bad")
            assert (answer.status, answer.json["error"]["code"]) == (503, "adapter_not_loaded")
            assert answer.header("retry-after") == "2"
            assert "is a pickle, which can run code and is refused" in reason(running, "bad")
            # A folder of another machine is for its engine to find.
            assert reason(running, "far") == "Loading lora far failed: No adapter found for /nowhere/far"
            assert set(await listed(running)) == {"m"}


async def test_an_engine_that_was_started_anew_gets_its_adapters_again(tmp_path: Path) -> None:
    sql = str(write_adapter(tmp_path / "sql"))
    async with two_engines(tmp_path) as (one, _):
        models = {"m": remote(one.address, adapters={"sql": sql})}
        async with gateway(models) as running:
            one.crash()
            loaded(one).clear()
            (replica,) = running.gateway.plane.registry.pools[0].replicas
            await eventually(lambda: not replica.ready, within=30)
            await one.restart()
            assert (await asked(running, "sql")).json["model"] == "sql"
            assert loaded(one) == {"sql": sql}


async def test_a_replica_that_lost_its_adapter_unnoticed_is_passed_over(tmp_path: Path) -> None:
    sql = str(write_adapter(tmp_path / "sql"))
    async with two_engines(tmp_path) as (one, two):
        models = {"m": remote(one.address, two.address, adapters={"sql": sql}, policy="round_robin")}
        async with gateway(models) as running:
            await eventually(lambda: states(running, "sql") == {"m-0": "loaded", "m-1": "loaded"}, within=30)
            loaded(one).clear()
            for _ in range(4):
                assert (await asked(running, "sql")).status == 200


async def test_what_others_have_loaded_into_a_shared_replica_is_left_alone(tmp_path: Path) -> None:
    sql = str(write_adapter(tmp_path / "sql"))
    async with two_engines(tmp_path) as (one, _):
        loaded(one).update({"theirs": "/theirs", "shared": sql, "other": "/other"})
        models = {"m": remote(one.address, adapters={"shared": sql, "other": sql})}
        async with gateway(models) as running:
            assert (await asked(running, "shared")).status == 200
            assert reason(running, "other") == "m-0 has another adapter of this name, from /other."
            await running.gateway.commands.unload_adapter("shared")
            assert loaded(one) == {"theirs": "/theirs", "shared": sql, "other": "/other"}


async def test_a_reload_loads_what_is_new_and_unloads_what_is_gone(tmp_path: Path) -> None:
    sql, poet, mine = (str(write_adapter(tmp_path / name)) for name in ("sql", "poet", "mine"))
    settings = {"listen": "127.0.0.1:0", "control": "127.0.0.1:0", "access_log": "off"}
    async with two_engines(tmp_path) as (one, _):

        def configured(**adapters: str) -> Config:
            return Config.model_validate({"gateway": settings, "models": {"m": remote(one.address, adapters=adapters)}})

        now = [configured(sql=sql)]
        built = Gateway(now[0], tmp_path, StartupLog(io.StringIO()), ConfigSource(lambda: now[0], ()))
        await built.start()
        try:
            running = RunningGateway(built)
            await running.until_ready(["m"])
            await built.commands.load_adapter("mine", "m", mine)
            now[0] = configured(poet=poet)
            assert built.commands.reload().successful
            await eventually(lambda: loaded(one) == {"poet": poet, "mine": mine}, within=30)
            assert (await asked(running, "poet")).json["model"] == "poet"
            assert (await asked(running, "sql")).status == 404
        finally:
            await built.stop()


@pytest.mark.slow
async def test_all_processes_know_where_an_adapter_is_loaded(tmp_path: Path) -> None:
    sql = str(write_adapter(tmp_path / "sql"))
    async with two_engines(tmp_path) as (one, two):
        two.adapters = None
        models = {"m": remote(one.address, two.address, adapters={}, policy="round_robin")}
        async with gateway(models, processes=2) as running:
            await eventually(lambda: len(running.gateway.plane.registry.pools[0].ready) == 2, within=30)
            await running.gateway.commands.load_adapter("sql", "m", sql)
            await eventually(lambda: states(running, "sql") == {"m-0": "loaded", "m-1": "failed"}, within=30)
            for _ in range(20):
                answer = await asked(running, "sql")
                assert answer.json["model"] == "sql"
            await running.gateway.commands.unload_adapter("sql")
            assert loaded(one) == {}
