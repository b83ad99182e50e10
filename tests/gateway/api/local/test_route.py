"""A local route is a coroutine: it may wait, fail, and be left by its client."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gateway.api import routes
from gateway.api.local.route import GatewayInfo, LocalRequest, LocalResponse, LocalRoute
from gateway.core.errors import BadRequest
from tests.kit.playbook import Playbook

ASKED = b"GET /thing/a%20b HTTP/1.1\r\nhost: x\r\n\r\n"


def answered_by(monkeypatch: pytest.MonkeyPatch, route: LocalRoute) -> Playbook:
    monkeypatch.setattr("gateway.api.pipeline.TABLE", routes.RouteTable({("GET", "/thing/{id}"): route}))
    return Playbook()


async def test_it_gets_the_parameter_and_its_response_has_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_info: GatewayInfo, request: LocalRequest) -> LocalResponse:
        return LocalResponse(request.parameter.encode(), b"content-type: text/plain\r\n", 201)

    play = answered_by(monkeypatch, LocalRoute(answer))
    play.client.sends(ASKED)
    await play.turn()
    got = play.client.got()
    assert got.startswith(b"HTTP/1.1 201 Created\r\ncontent-type: text/plain\r\ndate: ")
    assert got.endswith(b"\r\n\r\na b")


async def test_it_may_wait_while_others_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()

    async def answer(_info: GatewayInfo, _request: LocalRequest) -> LocalResponse:
        await gate.wait()
        return LocalResponse(b"{}")

    play = answered_by(monkeypatch, LocalRoute(answer))
    play.client.sends(ASKED)
    await play.turn()
    assert play.client.got() == b""
    gate.set()
    await play.turn()
    assert play.client.got().endswith(b"{}")


async def test_what_it_raises_is_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_info: GatewayInfo, _request: LocalRequest) -> LocalResponse:
        raise BadRequest("Not so.")

    play = answered_by(monkeypatch, LocalRoute(answer))
    play.client.sends(ASKED)
    await play.turn()
    got = play.client.got()
    assert got.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Not so." in got


async def test_a_mistake_of_ours_is_a_500(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def answer(_info: GatewayInfo, _request: LocalRequest) -> LocalResponse:
        raise ZeroDivisionError

    play = answered_by(monkeypatch, LocalRoute(answer))
    with caplog.at_level(logging.ERROR):
        play.client.sends(ASKED)
        await play.turn()
    assert play.client.got().startswith(b"HTTP/1.1 500 ")
    assert "ZeroDivisionError" in caplog.text


async def test_a_client_that_leaves_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()

    async def answer(_info: GatewayInfo, _request: LocalRequest) -> LocalResponse:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return LocalResponse()

    play = answered_by(monkeypatch, LocalRoute(answer))
    play.client.sends(ASKED)
    await play.turn()
    play.client.leaves()
    await asyncio.wait_for(ended.wait(), 5)
    assert not play.listener.connections
