"""Commands ask a running gateway at its control port, and show its token where the environment has one."""

from __future__ import annotations

import asyncio

import pytest

from gateway.cli.control_port import ask
from gateway.cli.main import main
from gateway.control.access import TOKEN_VARIABLE
from tests.kit.gateways import gateway, remote

NOBODY = remote("http://127.0.0.1:1", tasks=["generate"])


@pytest.mark.parametrize("words", [["adapter", "list"], ["scale", "m", "1"]], ids=" ".join)
def test_a_gateway_that_does_not_answer_is_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--control", "127.0.0.1:1"]) == 1
    assert capsys.readouterr().err.startswith("headgate: No gateway answers at 127.0.0.1:1 (--control): ")


async def test_the_token_of_the_environment_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "the-token-of-this-gateway")
    async with gateway({"m": NOBODY}, ready=()) as running:
        control = running.control.removeprefix("http://")
        assert (await asyncio.to_thread(ask, control, "POST", "/page/token"))[0] == 200
        monkeypatch.setenv(TOKEN_VARIABLE, "the-token-of-another-gateway")
        assert await asyncio.to_thread(ask, control, "POST", "/page/token") == (
            401,
            {"status": "refused", "code": "wrong_token", "reason": "this is not the token of this gateway"},
        )


async def test_an_answer_that_is_no_json_is_told_as_it_is() -> None:
    async with gateway({"m": NOBODY}, ready=()) as running:
        control = running.control.removeprefix("http://")
        assert await asyncio.to_thread(ask, control, "GET", "/nowhere") == (404, {"reason": "404: Not Found"})


async def test_the_address_may_be_given_as_the_gateway_says_it() -> None:
    async with gateway({"m": NOBODY}, ready=()) as running:
        assert running.control.startswith("http://")
        for control in (running.control, f"{running.control}/"):
            assert (await asyncio.to_thread(ask, control, "GET", "/livez"))[0] == 200


async def test_the_port_of_clients_is_told_to_be_the_wrong_one() -> None:
    async with gateway({"m": NOBODY}, ready=()) as running:
        clients = running.address.removeprefix("http://")
        assert await asyncio.to_thread(ask, clients, "POST", "/models/m/scale", {"replicas": 1}) == (
            404,
            {"reason": f"What answers at {clients} is no control port of a gateway (--control)."},
        )
