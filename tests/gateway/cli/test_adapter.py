"""``headgate adapter`` asks a running gateway for its adapters, or to change them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.cli.main import main
from loadtest.simulator import SimulatedEngine
from tests.engines.tiny_adapter import write_adapter
from tests.kit.gateways import gateway, remote


async def test_an_adapter_is_loaded_listed_and_unloaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = write_adapter(tmp_path / "sql")
    monkeypatch.chdir(tmp_path)
    async with (
        SimulatedEngine("m", uds=tmp_path / "a", lora=True) as engine,
        gateway({"m": remote(engine.address, adapters={})}) as running,
    ):

        async def headgate(*words: str) -> tuple[int, str, str]:
            control = running.control.removeprefix("http://")
            code = await asyncio.to_thread(main, ["adapter", *words, "--control", control])
            said = capsys.readouterr()
            return code, said.out, said.err

        assert await headgate("load", "sql", "sql", "--base", "m") == (0, "sql is loaded.\n", "")
        assert await headgate("list") == (0, f"sql  of m, from {sql}\n  m-0  loaded\n", "")
        assert await headgate("load", "sql", "sql", "--base", "m") == (
            1,
            "",
            "headgate: 'sql' is a model, an alias or an adapter already.\n",
        )
        assert await headgate("unload", "sql") == (0, "sql is unloaded.\n", "")
        assert await headgate("list") == (0, "There is no adapter.\n", "")
        assert await headgate("unload", "sql") == (1, "", "headgate: There is no adapter 'sql'.\n")
