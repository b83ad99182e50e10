"""The data plane is built from a configuration and tells by its option what stands in its way."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.config.schema import Config
from gateway.core.start_error import StartError
from gateway.data_plane import DataPlane, joined, split, tls_of, url_of
from gateway.pools.build import RegistryBuilder
from tests.gateway.api.local.forms import form, head
from tests.kit.eventually import eventually
from tests.kit.gateways import remote
from tests.kit.leaks import nothing_left
from tests.kit.wire import Wire

NOBODY = remote("http://127.0.0.1:1")


def configured(models: Mapping[str, Any], **settings: Any) -> Config:
    base = {"listen": "127.0.0.1:0", "access_log": "off"}
    return Config.model_validate({"gateway": base | settings, "models": models})


def built(config: Config) -> DataPlane:
    return DataPlane(config, RegistryBuilder().build(config), "1.2", "abc")


async def test_a_data_plane_serves_by_itself_and_leaves_nothing_behind() -> None:
    async with nothing_left():
        plane = built(configured({"m": NOBODY}))
        await plane.start()
        async with await Wire.connect_to(plane.address) as wire:
            await wire.request("GET", "/version")
            assert (await wire.response()).json == {"version": "1.2"}
        plane.stop_accepting()
        await plane.idle()
        await plane.stop()


async def test_a_data_plane_asks_itself_as_a_client_would() -> None:
    async with nothing_left():
        plane = built(configured({"m": NOBODY}, keys=[{"id": "a", "sha256": "0" * 64}]))
        await plane.start()
        status, body = await plane.ask("/classify", b'{"model": "n", "input": "a"}')
        assert (status, b"model_not_found" in body) == (404, True)
        plane.stop_accepting()
        await plane.idle()
        await plane.stop()


async def test_the_end_waits_for_an_upload_that_is_under_way(tmp_path: Path) -> None:
    body = form(b"x" * 1_000, purpose="evals")
    async with nothing_left():
        plane = built(configured({"m": NOBODY}, files={"folder": str(tmp_path / "f")}))
        await plane.start()
        async with await Wire.connect_to(plane.address) as wire:
            await wire.send(head(len(body)) + body[:-10])
            await eventually(lambda: list((tmp_path / "f").glob("drafts/*")))
            plane.announce_end()
            plane.stop_accepting()
            idle = asyncio.create_task(plane.idle())
            await wire.send(body[-10:])
            assert (await wire.response()).status == 200
            await idle
        await plane.stop()


async def test_an_upload_that_outlasts_the_end_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    body = form(b"x" * 1_000, purpose="evals")
    async with nothing_left():
        plane = built(configured({"m": NOBODY}, files={"folder": str(tmp_path / "f")}))
        await plane.start()
        async with await Wire.connect_to(plane.address) as wire:
            await wire.send(head(len(body)) + body[:-10])
            await eventually(lambda: list((tmp_path / "f").glob("drafts/*")))
            plane.stop_accepting()
            plane.cancel_all()
            assert (await wire.response()).json["error"]["code"] == "shutting_down"
            assert not list((tmp_path / "f").glob("*/*"))
        await plane.stop()


def test_old_versions_of_tls_are_not_spoken(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    both = tmp_path / "both.pem"
    context = tls_of(configured({"m": NOBODY}, tls_certificate=both, tls_key=both))
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_log_that_cannot_be_written_is_told_with_its_option(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"Cannot write to .*/none/log \(gateway\.access_log\): No such file"):
        built(configured({"m": NOBODY}, access_log=str(tmp_path / "none" / "log")))


@pytest.mark.parametrize(
    ("address", "expected"), [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80)), ("a.b:0", ("a.b", 0))]
)
def test_an_address_is_split_and_joined(address: str, expected: tuple[str, int]) -> None:
    assert split(address) == expected
    assert joined(*expected) == address
    assert url_of(*expected, tls=True) == f"https://{address}"
