"""What keys and groups have used is forgotten by command, each by itself."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from gateway.app import Gateway
from gateway.config.schema import Config
from gateway.console.startup_log import StartupLog
from gateway.core.start_error import StartError
from loadtest.simulator import SimulatedEngine
from tests.kit.gateways import gateway, remote
from tests.kit.wire import Wire

DIGEST = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
"""Of the key ``secret``."""


async def test_a_group_is_reset_and_its_keys_keep_what_they_have_used_of_their_own_limits(tmp_path: Path) -> None:
    limits = {"requests_per_day": 10}
    keys = [{"id": "alice", "sha256": DIGEST, "group": "team", "limits": limits}]
    # A key may be called as a group is, and is not in that group then.
    keys.insert(0, {"id": "team", "sha256": "0" * 64, "limits": limits})
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine") as engine,
        gateway({"m": remote(engine.address)}, keys=keys, groups={"team": {"limits": limits}, "empty": {}}) as served,
        await served.wire() as wire,
        await Wire.connect_to(served.control) as control,
    ):
        asked = {"model": "m", "prompt": "a", "max_tokens": 1}
        await wire.request("POST", "/v1/completions", asked, {"authorization": "Bearer secret"})
        assert (await wire.response()).header("x-ratelimit-remaining-requests") == "9"
        answers = []
        for name in ("team", "empty", "alice"):
            await control.request("POST", f"/groups/{name}/reset")
            response = await control.response()
            answers.append((response.status, response.json))
        await control.request("GET", "/keys")
        shown = (await control.response()).json
    reset = (200, {"status": "reset"})
    assert answers == [reset, reset, (404, {"status": "unknown", "reason": "there is no group 'alice'"})]
    used = {each.get("id"): each["limits"]["requests_per_day"]["used"] for each in shown["keys"] + shown["groups"]}
    assert used == {"team": 0, "alice": 1, None: 0}


async def test_a_key_is_reset_and_its_group_keeps_what_it_has_used(tmp_path: Path) -> None:
    limits = {"requests_per_day": 10}
    keys = [{"id": "alice", "sha256": DIGEST, "group": "team", "limits": limits}]
    keys.append({"id": "unlimited", "sha256": "0" * 64})
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine") as engine,
        gateway({"m": remote(engine.address)}, keys=keys, groups={"team": {"limits": limits}}) as served,
        await served.wire() as wire,
        await Wire.connect_to(served.control) as control,
    ):
        asked = {"model": "m", "prompt": "a", "max_tokens": 1}
        await wire.request("POST", "/v1/completions", asked, {"authorization": "Bearer secret"})
        assert (await wire.response()).status == 200
        statuses = []
        for name in ("alice", "unlimited", "team"):
            await control.request("POST", f"/keys/{name}/reset")
            statuses.append((await control.response()).status)
        await control.request("GET", "/keys")
        shown = (await control.response()).json
    assert statuses == [200, 200, 404]
    (key, _), (group,) = shown["keys"], shown["groups"]
    assert key["limits"]["requests_per_day"]["used"] == 0
    assert group["limits"]["requests_per_day"]["used"] == 1


async def test_limits_that_cannot_be_shared_are_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    settings = {"access_log": "off", "redis": {"url": "redis://127.0.0.1:1"}}
    config = Config.model_validate({"gateway": settings, "models": {"m": remote("http://127.0.0.1:1")}})
    with pytest.raises(StartError, match=r"gateway\.redis: the package redis is not installed: pip install redis"):
        Gateway(config, tmp_path, StartupLog(io.StringIO()))
