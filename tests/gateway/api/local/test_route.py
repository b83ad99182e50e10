"""A local route is a coroutine: it may wait, fail, and be left by its client."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gateway.api import routes
from gateway.api.local.route import GatewayInfo, LocalRequest, LocalResponse, LocalRoute, StreamedResponse
from gateway.core.context import BodyLimit
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


class Source:
    """A body of three pieces, which fails at the end if it is told to."""

    length = 6

    def __init__(self, *, fails: bool = False) -> None:
        self.closed = 0
        self.read_so_far = 0
        self._pieces = [b"ab", b"cd", b"ef"]
        self._fails = fails

    async def read(self) -> bytes:
        if len(self._pieces) == 1 and self._fails:
            raise ZeroDivisionError
        piece = self._pieces.pop(0) if self._pieces else b""
        self.read_so_far += len(piece)
        return piece

    async def close(self) -> None:
        self.closed += 1


def streaming(monkeypatch: pytest.MonkeyPatch, source: Source) -> Playbook:
    async def answer(_info: GatewayInfo, _request: LocalRequest) -> StreamedResponse:
        return StreamedResponse(source, b"content-type: text/plain\r\n")

    return answered_by(monkeypatch, LocalRoute(answer))


async def test_a_response_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    play = streaming(monkeypatch, source)
    play.client.sends(ASKED)
    await play.turn()
    got = play.client.got()
    assert got.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ndate: ")
    assert got.endswith(b"content-length: 6\r\n\r\nabcdef")
    assert source.closed == 1


async def test_the_head_of_a_response_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    play = streaming(monkeypatch, source)
    play.client.sends(ASKED.replace(b"GET", b"HEAD"))
    await play.turn()
    assert play.client.got().endswith(b"content-length: 6\r\n\r\n")
    assert (source.read_so_far, source.closed) == (0, 1)


async def test_pieces_are_produced_as_the_client_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    play = streaming(monkeypatch, source)
    play.client.sends(ASKED)
    play.client.stops_reading()
    await play.turn()
    assert source.read_so_far == 2
    play.client.reads_on()
    await play.turn()
    assert source.read_so_far == 6
    assert play.client.got().endswith(b"abcdef")


async def test_a_response_in_pieces_that_breaks_off_is_cut(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(fails=True)
    play = streaming(monkeypatch, source)
    play.client.sends(ASKED)
    await play.turn()
    assert play.client.got().endswith(b"\r\n\r\nabcd")
    assert play.client.transport.aborted
    assert source.closed == 1


async def test_a_client_that_leaves_a_response_in_pieces_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    play = streaming(monkeypatch, source)
    play.client.sends(ASKED)
    play.client.stops_reading()
    await play.turn()
    play.client.leaves()
    await play.turn()
    assert (source.read_so_far, source.closed) == (2, 1)
    assert repr(play.pipeline.local_calls) == "<LocalCalls [0]>"


async def test_a_body_that_the_route_wants_as_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_info: GatewayInfo, request: LocalRequest) -> LocalResponse:
        assert request.stream is not None
        first = await request.stream.read()
        return LocalResponse(first + b"|" + await request.stream.read())

    route = LocalRoute(answer, streamed=lambda _info: BodyLimit(8, "an option"))
    play = answered_by(monkeypatch, route)
    play.client.sends(ASKED[:-2] + b"content-length: 4\r\n\r\nab")
    await play.turn()
    play.client.sends(b"cd")
    await play.turn()
    assert play.client.got().endswith(b"\r\n\r\nab|cd")
    play.client.sends(ASKED[:-2] + b"content-length: 9\r\n\r\n")
    assert b"The body is over 8 bytes (an option)." in play.client.got()


async def test_a_refusal_comes_when_the_body_is_whole_and_the_connection_lives_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answer(_info: GatewayInfo, _request: LocalRequest) -> LocalResponse:
        raise BadRequest("Not so.")

    route = LocalRoute(answer, streamed=lambda _info: BodyLimit(8, "an option"))
    play = answered_by(monkeypatch, route)
    play.client.sends(ASKED[:-2] + b"content-length: 4\r\n\r\nab")
    await play.turn()
    assert play.client.got() == b""
    play.client.sends(b"cd" + ASKED[:-2] + b"content-length: 0\r\n\r\n")
    await play.turn()
    await play.turn()
    got = play.client.got()
    assert got.count(b"HTTP/1.1 400 Bad Request\r\n") == 2
    assert b"connection: close" not in got


async def test_what_is_under_way_ends_with_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_info: GatewayInfo, _request: LocalRequest) -> LocalResponse:
        await asyncio.Event().wait()
        return LocalResponse()

    play = answered_by(monkeypatch, LocalRoute(answer))
    play.client.sends(ASKED)
    await play.turn()
    assert repr(play.pipeline.local_calls) == "<LocalCalls [1]>"
    play.pipeline.local_calls.cancel_all()
    await play.turn()
    assert play.client.got().startswith(b"HTTP/1.1 503 ")
    assert len(play.pipeline.local_calls) == 0


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
