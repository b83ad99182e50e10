"""HTTP as the simulated engine understands it."""

import asyncio

import pytest

from loadtest.simulator import SimulatedEngine
from loadtest.simulator.connection import ReceivedRequest
from tests.kit.eventually import PATIENCE
from tests.kit.wire import Wire


def test_a_received_request_finds_headers_by_any_case() -> None:
    request = ReceivedRequest("POST", "/", [(b"X-One", b"1"), (b"x-one", b"2"), (b"Host", b"h")], b"")
    assert request.header("x-oNE") == "1"
    assert request.header("absent") is None
    assert request.header_names() == ["x-one", "x-one", "host"]


async def test_a_request_may_come_byte_by_byte(engine: SimulatedEngine, wire: Wire) -> None:
    body = b'{"input": "hello"}'
    request = b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    for at in range(len(request)):
        await wire.send(request[at : at + 1])
    assert (await wire.response()).status == 200
    assert engine.requests[0].body == body
    assert engine.requests[0].path == "/v1/embeddings"


async def test_a_body_may_be_chunked(engine: SimulatedEngine, wire: Wire) -> None:
    await wire.send(
        b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        b'7\r\n{"input\r\n8\r\n": "abc"\r\n1\r\n}\r\n0\r\n\r\n'
    )
    assert (await wire.response()).status == 200
    assert engine.requests[0].body == b'{"input": "abc"}'


async def test_what_is_not_http_is_refused_as_uvicorn_does(wire: Wire) -> None:
    await wire.send(b"\x16\x03\x01\x02\x00\r\n\r\n")
    answer = await wire.response()
    assert (answer.status, answer.body) == (400, b"Invalid HTTP request received.")
    await wire.closed()


@pytest.mark.parametrize("limit", [1, 50])
async def test_a_connection_is_used_again(engine: SimulatedEngine, wire: Wire, limit: int) -> None:
    for _ in range(limit):
        await wire.request("POST", "/v1/embeddings", {"input": "a"})
        await wire.response()
    assert (engine.accepted, engine.served) == (1, limit)


async def test_half_a_request_is_no_request(engine: SimulatedEngine) -> None:
    async with await Wire.connect_to(engine.address) as wire:
        await wire.send(b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{")
        await engine.until(lambda e: e.connections == 1)
    await engine.until(lambda e: e.connections == 0)
    assert (engine.received, engine.aborted) == (0, 0)


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(engine: SimulatedEngine) -> None:
    port = int(engine.address.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 13\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b'{"input":"a"}')
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()
