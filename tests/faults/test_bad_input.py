"""Bad input over the wire: each has its status and an error that says what was expected, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from loadtest.simulator import SimulatedEngine
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.leaks import nothing_left
from tests.kit.wire import Response

CHAT = "/v1/chat/completions"
GOOD: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
JSON = {"content-type": "application/json"}


@asynccontextmanager
async def running_gateway(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[SimulatedEngine, RunningGateway]]:
    """A gateway with two models; whatever happens in the block leaves no trace, and no engine hears of it."""
    async with (
        SimulatedEngine("m", uds=tmp_path / "a") as engine,
        SimulatedEngine("e", uds=tmp_path / "b") as embedder,
        gateway({"m": remote(engine.address), "e": remote(embedder.address, tasks=["embed"])}, **settings) as running,
    ):
        async with nothing_left():
            yield engine, running
            await running.gateway.plane.idle()
        assert engine.received == embedder.received == 0


async def answer_to(
    running: RunningGateway, body: Any, path: str = CHAT, headers: dict[str, str] | None = None, method: str = "POST"
) -> Response:
    async with await running.wire() as wire:
        await wire.request(method, path, body, headers)
        return await wire.response()


def error_of(answer: Response) -> dict[str, Any]:
    """Every error is JSON in one shape, and every answer has its id."""
    assert answer.header("content-type") == "application/json"
    assert answer.header("x-request-id")
    error: dict[str, Any] = answer.json["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    return error


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"{", None, "malformed_json"),
        (b'{"model":"m",}', None, "malformed_json"),
        (b"\xff\xfe", None, "malformed_json"),
        (b'{"model":"\xff"}', None, "malformed_json"),
        (b"", None, "empty_body"),
        (b"[]", None, None),
        (b'"m"', None, None),
        (b"null", None, None),
        (b'{"messages":[]}', "model", None),
        (b'{"model":""}', "model", None),
        (b'{"model":5}', "model", None),
        (b'{"model":["m"]}', "model", None),
        (b'{"model":"m","stream":"maybe"}', "stream", None),
        (b'{"model":"m","stream_options":"all"}', "stream_options", None),
        (b'{"model":"m","n":"two"}', "n", None),
        (b'{"model":"m","n":1000}', "n", None),
        (b'{"model":"m","max_tokens":"many"}', "max_tokens", None),
        (b'{"model":"m","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}", None, "too_deep"),
        (b'{"model":"m","x":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}", None, "too_deep"),
        (b"[" * 10_000, None, "too_deep"),
    ],
    ids=lambda value: value[:32].decode("latin-1") if isinstance(value, bytes) else "",
)
async def test_a_body_that_is_not_what_was_expected_is_a_400(
    tmp_path: Path, body: bytes, param: str | None, code: str | None
) -> None:
    async with running_gateway(tmp_path) as (_, running):
        answer = await answer_to(running, body)
        error = error_of(answer)
        assert (answer.status, error["type"], error["param"], error["code"]) == (
            400,
            "invalid_request_error",
            param,
            code,
        )


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("POST", "/v1/chat/completion", JSON, 404, "unknown_url"),
        ("POST", "/collective_rpc", JSON, 404, "unknown_url"),
        ("GET", "/../etc/passwd", {}, 404, "unknown_url"),
        ("GET", CHAT, {}, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", {}, 405, "method_not_allowed"),
        ("POST", CHAT, {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        ("POST", "/v1/audio/transcriptions", JSON, 415, "unsupported_media_type"),
        ("POST", CHAT, {"content-encoding": "gzip", **JSON}, 415, "unsupported_media_type"),
        ("GET", "/v1/models/nobody", {}, 404, "model_not_found"),
    ],
)
async def test_what_is_asked_for_in_the_wrong_way(
    tmp_path: Path, method: str, path: str, headers: dict[str, str], status: int, code: str | None
) -> None:
    async with running_gateway(tmp_path) as (_, running):
        answer = await answer_to(running, GOOD if method == "POST" else None, path, headers, method)
        assert (answer.status, error_of(answer)["code"]) == (status, code)
        if status == 405:
            assert answer.header("allow")


async def test_an_unknown_model_is_a_404_that_counts_under_no_name_of_the_clients(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as (_, running):
        answer = await answer_to(running, GOOD | {"model": "gpt-4o"})
        error = error_of(answer)
        assert (answer.status, error["code"], error["param"]) == (404, "model_not_found", "model")
        assert "'gpt-4o'" in error["message"]
        metrics = await running.metrics()
        assert "gpt-4o" not in metrics
        assert 'headgate_requests_total{code="404",endpoint="/v1/chat/completions",model="unknown"} 1.0' in metrics


async def test_what_a_models_engine_cannot_do_is_a_400_that_says_which_models_can(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as (_, running):
        answer = await answer_to(running, GOOD | {"model": "e"})
        assert answer.status == 400
        message = error_of(answer)["message"]
        assert message == "The model 'e' does not support /v1/chat/completions; these can: m."


@pytest.mark.parametrize("framing", ["content-length", "chunked", "expect"])
async def test_a_body_of_100_megabytes_is_refused_before_it_is_held(tmp_path: Path, framing: str) -> None:
    async with running_gateway(tmp_path) as (_, running), await running.wire() as wire:
        lines = {
            "content-length": b"content-length: 104857600\r\n",
            "chunked": b"transfer-encoding: chunked\r\n",
            "expect": b"content-length: 104857600\r\nexpect: 100-continue\r\n",
        }
        await wire.send(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n%b\r\n"
            % lines[framing]
        )
        if framing == "chunked":
            for _ in range(33):
                await wire.send(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
        answer = await wire.response()
        assert answer.status == 413
        assert error_of(answer)["code"] == "request_too_large"
        assert answer.header("connection") == "close"


@pytest.mark.slow
async def test_a_body_of_100_megabytes_passes_where_it_may(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "a") as engine,
        gateway({"m": remote(engine.address)}, limits={"max_body_bytes": 128 * 2**20}) as running,
        await running.wire() as wire,
    ):
        wire.timeout = 60
        await wire.request("POST", CHAT, GOOD | {"padding": "x" * 100 * 2**20})
        assert (await wire.response()).status == 200
        assert len(engine.requests[-1].body) > 100 * 2**20


@pytest.mark.parametrize(
    "part",
    [
        b"POST /v1/chat/completions HT",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{",
    ],
    ids=["line", "head", "body", "chunk"],
)
async def test_half_a_request_and_silence_is_a_408(tmp_path: Path, part: bytes) -> None:
    async with running_gateway(tmp_path, timeouts={"receive": 0.2}) as (_, running), await running.wire() as wire:
        await wire.send(part)
        answer = await wire.response()
        assert answer.status == 408
        assert answer.header("connection") == "close"
        assert error_of(answer)["message"]
        await wire.closed()


async def test_a_connection_that_never_says_anything_is_closed_without_a_word(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, timeouts={"keep_alive": 0.2}) as (_, running), await running.wire() as wire:
        await wire.closed()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"content-length: 2\r\ntransfer-encoding: chunked\r\n", 400),
        (b"content-length: 2\r\ncontent-length: 2\r\n", 400),
        (b"content-length: 2\r\ncontent-length: 3\r\n", 400),
        (b"content-length: -1\r\n", 400),
        (b"content-length: 2, 2\r\n", 400),
        (b"content-length: 0x2\r\n", 400),
        (b"transfer-encoding: gzip, chunked\r\n", 400),
        (b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", 400),
        (b"authorization: Bearer a\r\nauthorization: Bearer b\r\n", 400),
        (b"host: other\r\n", 400),
        (b"x: a\x00b\r\n", 400),
        (b"x: a\nb: c\r\n", 400),
        (b"x : a\r\n", 400),
        (b" folded: a\r\n", 400),
        (b"x: " + b"a" * 70_000 + b"\r\n", 431),
        (b"".join(b"x%d: a\r\n" % number for number in range(200)), 431),
    ],
    ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else "",
)
async def test_a_head_that_could_be_read_in_two_ways_is_refused_and_the_connection_closed(
    tmp_path: Path, head: bytes, status: int
) -> None:
    async with running_gateway(tmp_path) as (_, running), await running.wire() as wire:
        await wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n" + head + b"\r\n{}")
        answer = await wire.response()
        assert answer.status == status
        assert answer.header("connection") == "close"
        assert error_of(answer)["message"]
        await wire.closed()


async def test_after_every_refusal_that_can_be_survived_the_connection_lives_on(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "a") as engine,
        gateway({"m": remote(engine.address)}) as running,
        await running.wire() as wire,
    ):
        for path, body in ((CHAT, b"{"), ("/nowhere", b"{}"), (CHAT, json.dumps({"model": "x"}).encode())):
            await wire.request("POST", path, body)
            assert (await wire.response()).status in (400, 404)
        await wire.request("POST", CHAT, GOOD)
        assert (await wire.response()).status == 200
