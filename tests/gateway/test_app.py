"""The whole gateway: built from a configuration, started, and ended without leaving anything behind."""

from __future__ import annotations

import asyncio
import io
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from gateway.app import Gateway
from gateway.config.schema import Config
from gateway.console.startup_log import StartupLog
from gateway.core.start_error import StartError
from gateway.reload.reloader import ConfigSource
from loadtest.simulator import SimulatedEngine, Timing
from loadtest.simulator.faults import Faults
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.leaks import nothing_left
from tests.kit.wire import Wire

VLLM = {"engine": "vllm", "source": "a/b"}
NOBODY = remote("http://127.0.0.1:1")


def configured(models: Mapping[str, Any], **settings: Any) -> Config:
    base = {"listen": "127.0.0.1:0", "control": "127.0.0.1:0", "access_log": "off"}
    return Config.model_validate({"gateway": base | settings, "models": models})


def built(config: Config, folder: Path) -> Gateway:
    return Gateway(config, folder, StartupLog(io.StringIO()))


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> dict[str, Path]:
    """Make a certificate for 127.0.0.1, and give the settings that name it."""
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return {"tls_certificate": certificate, "tls_key": key}


async def test_clients_are_answered_over_tls(authority: trustme.CA, tls: dict[str, Path], tmp_path: Path) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    async with SimulatedEngine("m", uds=tmp_path / "engine") as engine:
        served = built(configured({"m": remote(engine.address)}, **tls), tmp_path)
        await served.start()
        try:
            assert served.plane.address.startswith("https://127.0.0.1:")
            port = int(served.plane.address.rpartition(":")[2])
            async with Wire(*await asyncio.open_connection("127.0.0.1", port, ssl=trusting)) as wire:
                assert wire.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
                await wire.request("GET", "/v1/models")
                assert (await wire.response()).status == 200
        finally:
            await served.stop()


async def test_plain_http_at_a_tls_port_gets_no_answer(tls: dict[str, Path], tmp_path: Path) -> None:
    served = built(configured({"m": NOBODY}, **tls), tmp_path)
    await served.start()
    try:
        async with await Wire.connect_to(served.plane.address) as wire:
            await wire.request("GET", "/health")
            assert not (await wire.rest()).startswith(b"HTTP/")
    finally:
        await served.stop()


@pytest.mark.parametrize("content", [None, b"no certificate"], ids=["absent", "garbage"])
async def test_a_certificate_that_cannot_be_read_leaves_nothing_behind(content: bytes | None, tmp_path: Path) -> None:
    wrong = tmp_path / "tls.crt"
    if content is not None:
        wrong.write_bytes(content)
    async with nothing_left():
        with pytest.raises(StartError, match=r"Cannot read .*tls\.crt.* \(gateway\.tls_certificate, tls_key\)"):
            built(configured({"m": NOBODY}, tls_certificate=wrong, tls_key=wrong), tmp_path)


@pytest.mark.parametrize("which", ["listen", "control"])
async def test_a_port_in_use_is_told_and_leaves_nothing_behind(which: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with nothing_left():
            settings = {which: address, "access_log": str(tmp_path / "log")}
            served = built(configured({"m": NOBODY}, **settings), tmp_path)
            with pytest.raises(StartError, match=rf"Cannot listen on {address} \(gateway\.{which}\): .*in use"):
                await served.start()


async def test_a_gateway_that_served_leaves_nothing_behind(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine") as engine,
        nothing_left(),
        gateway({"m": remote(engine.address)}) as served,
        await served.wire() as wire,
    ):
        await wire.request("POST", "/v1/completions", {"model": "m", "prompt": "a", "max_tokens": 2})
        assert (await wire.response()).status == 200


async def test_the_panel_shows_each_model_as_it_is(tmp_path: Path) -> None:
    slow = Faults(delay=0.3, also_get=True)  # Not even a probe's answer is there at once.
    nowhere = {"engine": "remote", "discover": {"file": str(tmp_path / "none.json")}}
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine", faults=slow) as engine,
        gateway({"m": remote(engine.address), "n": NOBODY, "o": nowhere}, ready=[]) as served,
    ):
        async with asyncio.timeout(10):
            await served.gateway.fleet.settle()
        lines = served.gateway.panel().splitlines()
    assert lines[0].startswith(f"Headgate serves at {served.address} ")
    assert re.fullmatch(rf"See and try it in a browser: {served.control}/#token=\S{{32}}", lines[1])
    assert lines[4].split() == ["m", "remote", "1/1", "ready"]
    assert lines[5].split() == ["n", "remote", "0/1", "failing"]
    assert lines[7:9] == [
        "  o      remote  0/0       nothing found",
        f"      file {tmp_path / 'none.json'}: cannot be read: No such file or directory",
    ]


async def test_a_token_of_the_environment_is_used_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEADGATE_CONTROL_TOKEN", "a-token-of-the-operator")
    async with (
        gateway({"n": NOBODY}, ready=[]) as served,
        await Wire.connect_to(served.control) as control,
    ):
        assert f"See and try it in a browser: {served.control}/\n" in served.gateway.panel()
        answers = []
        for token in ("a-token-of-the-operator", "another-token-of-somebody"):
            await control.request("POST", "/page/token", headers={"authorization": f"Bearer {token}"})
            answers.append((await control.response()).status)
    assert answers == [200, 401]


async def test_a_token_that_is_too_short_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEADGATE_CONTROL_TOKEN", "short")
    async with nothing_left():
        with pytest.raises(StartError, match="HEADGATE_CONTROL_TOKEN must be 16 or more visible ASCII characters"):
            built(configured({"m": NOBODY}), tmp_path)


async def test_a_reload_is_written_down_for_the_page(tmp_path: Path) -> None:
    config = configured({"n": NOBODY})
    source = ConfigSource(lambda: config, ())
    served = Gateway(config, tmp_path, StartupLog(io.StringIO()), source)
    await served.start()
    try:
        async with aiohttp.ClientSession(served.control_address) as http:
            async with http.post("/reload") as answer:
                assert await answer.json() == {"status": "reloaded", "problems": []}
            async with http.get("/page/api/state") as answer:
                decisions = (await answer.json())["decisions"]
    finally:
        await served.stop()
    assert ("reload", "the configuration was reloaded") in [(each["kind"], each["what"]) for each in decisions]
    assert ("command", "POST /reload") in [(each["kind"], each["what"]) for each in decisions]


async def test_nothing_is_reloaded_once_the_end_was_announced(tmp_path: Path) -> None:
    config = configured({"n": NOBODY}, drain_delay=0.1)
    served = Gateway(config, tmp_path, StartupLog(io.StringIO()), ConfigSource(lambda: config, ()))
    await served.start()
    ending = asyncio.create_task(served.stop())
    await asyncio.sleep(0)  # One turn of the loop, in which the end is announced.
    assert served.commands.reload().problems == ("the gateway is shutting down",)
    await ending


async def test_the_log_has_each_request_when_the_gateway_has_ended(tmp_path: Path) -> None:
    async with SimulatedEngine("m", uds=tmp_path / "engine") as engine:
        log = str(tmp_path / "log")
        async with gateway({"m": remote(engine.address)}, access_log=log) as served, await served.wire() as wire:
            await wire.request("POST", "/v1/completions", {"model": "m", "prompt": "a", "max_tokens": 2})
            answer = await wire.response()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    (line,) = [each for each in lines if each["request_id"] == answer.header("x-request-id")]
    assert (line["model"], line["replica"], line["status"], line["output_tokens"]) == ("m", "m-0", 200, 2)


@asynccontextmanager
async def started(models: Mapping[str, Any], folder: Path, **settings: Any) -> AsyncIterator[RunningGateway]:
    """Run a gateway that the test itself ends."""
    served = built(configured(models, **settings), folder)
    await served.start()
    try:
        running = RunningGateway(served)
        await running.until_ready(models)
        yield running
    finally:
        if not served.plane.draining:
            await served.stop()


def streamed(**options: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": "a", "stream": True, "max_tokens": 20, **options}


async def test_a_drain_announces_itself_while_it_still_serves(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine") as engine,
        started({"m": remote(engine.address)}, tmp_path, drain_delay=1.5) as served,
        await served.wire() as wire,
        await Wire.connect_to(served.control) as control,
    ):
        ending = asyncio.create_task(served.gateway.stop())
        await asyncio.sleep(0)  # One turn of the loop, in which the end is announced.
        await control.request("GET", "/readyz")
        probe = await control.response()
        assert (probe.status, probe.json["reasons"]) == (503, ["the gateway is shutting down"])
        await wire.request("POST", "/v1/completions", {"model": "m", "prompt": "a", "max_tokens": 2})
        answer = await wire.response()
        assert (answer.status, answer.header("connection")) == (200, "close")
        async with await served.wire() as late:
            await late.request("GET", "/v1/models")
            assert (await late.response()).header("connection") == "close"
        await ending


async def test_a_drain_refuses_the_queued_and_lets_the_running_finish(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine", timing=Timing(inter_token=0.02)) as engine,
        started({"m": remote(engine.address, max_in_flight=1)}, tmp_path) as served,
        await served.wire() as first,
        await served.wire() as second,
    ):
        await first.request("POST", "/v1/completions", streamed())
        assert (await first.head()).status == 200
        await second.request("POST", "/v1/completions", streamed())
        async with asyncio.timeout(10):
            while not served.gateway.plane.registry.pools[0].admission.waiting:  # noqa: ASYNC110 - a queue tells nobody that it grew
                await asyncio.sleep(0.001)
        await served.gateway.stop()
        refused = await second.response()
        assert (refused.status, refused.json["error"]["code"]) == (503, "shutting_down")
        assert refused.header("retry-after")
        assert refused.header("retry-after-ms")
        events = [event async for event in first.events()]
        assert events[-1] == b"data: [DONE]"
        assert not any(b'"error"' in event for event in events)
        assert engine.aborted == 0


async def test_what_outlasts_the_drain_ends_with_an_error_in_its_stream(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "engine", timing=Timing(inter_token=30.0)) as engine,
        started({"m": remote(engine.address)}, tmp_path, drain_timeout=0.1) as served,
        await served.wire() as wire,
    ):
        await wire.request("POST", "/v1/completions", streamed())
        assert (await wire.head()).status == 200
        await served.gateway.stop()
        *_, error, done = [event async for event in wire.events()]
        assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "shutting_down"
        assert done == b"data: [DONE]"
        await engine.until(lambda each: each.aborted == 1)


async def test_a_configured_key_opens_and_no_other() -> None:
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    async with gateway({"m": NOBODY}, ready=[], keys=[{"id": "alice", "sha256": digest}]) as served:
        statuses = []
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer secret"}):
            async with await served.wire() as wire:
                await wire.request("GET", "/v1/models", headers=headers)
                statuses.append((await wire.response()).status)
    assert statuses == [401, 401, 200]
