"""An adapter's files are looked at before an engine is asked to load them, as far as they are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.check import AdapterCheck
from gateway.config.schema import Config
from gateway.pools.adapters import AdapterRefused
from gateway.pools.model import Model
from tests.engines.tiny_adapter import Q_PROJ, write_adapter, write_tensors
from tests.gateway.pools.made import model
from tests.kit.gateways import remote

HERE = {"engine": "vllm", "source": "/m", "adapters": {}}
THERE = remote("http://a", adapters={})
ON_RAY = {**HERE, "placement": "ray"}


async def check(settings: dict[str, Any], adapter: Path, base: Path | None = None) -> None:
    """Check an adapter of a model with these settings, whose files are in the folder ``base``."""
    ray = {"ray": {"address": "http://127.0.0.1:1"}} if settings is ON_RAY else {}
    config = Config.model_validate({"gateway": ray, "models": {"m": settings}})
    parent = model("m")
    checked = Model("sql", parent.pool, tasks=parent.tasks, parent=parent, root=str(adapter))
    await AdapterCheck(lambda: config, {"m": base}.get).check(checked)


@pytest.mark.parametrize("settings", [HERE, THERE, ON_RAY], ids=["here", "remote", "on Ray"])
async def test_files_that_can_be_read_are_looked_at_wherever_the_base_runs(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    await check(settings, write_adapter(tmp_path / "good"))
    bad = write_adapter(tmp_path / "bad")
    (bad / "adapter_model.safetensors").rename(bad / "adapter_model.bin")
    with pytest.raises(AdapterRefused, match="is a pickle, which can run code and is refused"):
        await check(settings, bad)


async def test_a_folder_of_another_machine_is_for_its_engine_to_find() -> None:
    for settings in (THERE, ON_RAY):
        await check(settings, Path("/nowhere"))
    with pytest.raises(AdapterRefused, match="/nowhere"):
        await check(HERE, Path("/nowhere"))


async def test_an_adapter_is_compared_with_its_base_where_both_are_here(tmp_path: Path) -> None:
    adapter, base = write_adapter(tmp_path / "adapter", modules={Q_PROJ: (8, 4)}), tmp_path / "base"
    base.mkdir()
    write_tensors(base / "model.safetensors", {f"{Q_PROJ}.weight": (8, 4)})
    await check(HERE, adapter, base)
    write_tensors(base / "model.safetensors", {f"{Q_PROJ}.weight": (16, 4)})
    with pytest.raises(AdapterRefused, match=r"does not fit its base: it is made for a .*q_proj of 8x4, not 16x4"):
        await check(HERE, adapter, base)
