"""An engine that misbehaves: each fault has its status or its in-stream error, and leaves nothing behind."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from loadtest.simulator import SimulatedEngine
from loadtest.simulator.batch import Timing
from loadtest.simulator.faults import NO_FAULTS, Cut, Faults
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.scripted import events, scripted_engine, whole
from tests.kit.wire import Response

CHAT = "/v1/chat/completions"


def ask(*, stream: bool = False, tokens: int = 4) -> dict[str, Any]:
    return {"model": "m", "stream": stream, "max_tokens": tokens, "messages": [{"role": "user", "content": "Hi"}]}


@asynccontextmanager
async def one_engine(
    tmp_path: Path, *, hold: float = 30.0, **settings: Any
) -> AsyncIterator[tuple[SimulatedEngine, RunningGateway]]:
    """A gateway in front of one simulated engine; afterwards neither holds anything of the other's."""
    async with SimulatedEngine("m", uds=tmp_path / "a") as engine:
        async with gateway({"m": remote(engine.address, hold=hold)}, **settings) as running:
            yield engine, running
            await engine.until(lambda e: e.running == e.waiting == 0)
            await running.gateway.plane.idle()
            assert "0 in flight, 0 queued" in repr(running)
        await engine.until(lambda e: e.connections == 0)


async def answer_to(running: RunningGateway, body: Any) -> Response:
    async with await running.wire() as wire:
        await wire.request("POST", CHAT, body)
        return await wire.response()


def error_of(answer: Response) -> tuple[int, str]:
    return answer.status, answer.json["error"]["code"]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (Faults(status=500), (502, "upstream_failed")),
        (Faults(status=500, error_body="<html>Bad gateway</html>"), (502, "upstream_failed")),
        (Faults(status=404), (404, None)),
        (Faults(status=400), (400, "context_length_exceeded")),
        (Faults(garbage=True), (502, "upstream_failed")),
        (Faults(both_lengths=True), (502, "upstream_failed")),
        (Faults(header_bytes=300_000), (502, "upstream_failed")),
        (Faults(cut_body_after=20), (502, "upstream_failed")),
        (Faults(length_error=50), (502, "upstream_failed")),
        (Faults(crash_after=0), (502, "upstream_failed")),
    ],
    ids=str,
)
async def test_a_unary_answer_that_fails_is_an_error_in_our_shape(
    tmp_path: Path, faults: Faults, expected: tuple[int, str]
) -> None:
    async with one_engine(tmp_path, hold=0.0) as (engine, running):
        engine.faults = faults
        answer = await answer_to(running, ask())
        assert error_of(answer) == expected
        assert answer.header("x-request-id")
        assert answer.json["error"]["message"]
        engine.faults = Faults()


@pytest.mark.parametrize("status", [429, 503])
async def test_an_engine_that_is_full_says_when_to_come_back(tmp_path: Path, status: int) -> None:
    async with one_engine(tmp_path) as (engine, running):
        engine.faults = Faults(status=status)
        answer = await answer_to(running, ask())
        assert answer.status == status
        assert int(answer.header("retry-after") or 0) >= 1
        assert int(answer.header("retry-after-ms") or 0) >= 1


@pytest.mark.parametrize(
    ("said", "told"), [("7", "7"), ("9" * 400, "86400"), ("soon", "1")], ids=["a while", "for ever", "in words"]
)
async def test_however_long_an_engine_wants_to_be_left_alone_its_client_is_answered(said: str, told: str) -> None:
    async with scripted_engine() as engine, gateway({"m": remote(engine.url)}) as running:
        engine.answer = [whole(b"{}", b"503 Full", f"retry-after: {said}\r\n".encode())]
        answer = await answer_to(running, ask())
        assert error_of(answer) == (503, "server_is_overloaded")
        assert answer.header("retry-after") == told


@pytest.mark.parametrize("tokens", [-5, 10**400], ids=["negative", "endless"])
async def test_an_absurd_usage_is_the_clients_to_judge_and_spoils_no_metric(tokens: int) -> None:
    usage = b'{"usage":{"prompt_tokens":%d,"completion_tokens":1}}' % tokens
    async with scripted_engine() as engine, gateway({"m": remote(engine.url)}) as running:
        engine.answer = [whole(usage)]
        assert (await answer_to(running, ask())).body == usage
        assert 'headgate_tokens_total{model="m",type="input"} 0.0' in await running.metrics()


async def test_an_engine_that_never_answers_is_a_504(tmp_path: Path) -> None:
    async with one_engine(tmp_path, timeouts={"first_byte": 0.2}) as (engine, running):
        engine.faults = Faults(silent=True)
        answer = await answer_to(running, ask())
        assert error_of(answer) == (504, "first_byte_timeout")
        await engine.until(lambda e: e.aborted == 1)


@pytest.mark.parametrize("cut", [Cut.END, Cut.CLOSE, Cut.RESET, Cut.MID_EVENT])
async def test_a_stream_that_ends_too_early_ends_with_an_error_event_and_done(tmp_path: Path, cut: Cut) -> None:
    async with one_engine(tmp_path) as (engine, running):
        engine.faults = Faults(cut_after=3, cut=cut)
        answer = await answer_to(running, ask(stream=True))
        assert answer.status == 200
        *chunks, error, done = answer.events
        assert len(chunks) == 3
        assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "upstream_failed"
        assert done == b"data: [DONE]"
        assert answer.header("connection") is None
        assert (
            'headgate_requests_total{code="502",endpoint="/v1/chat/completions",model="m"} 1' in await running.metrics()
        )


async def test_an_engine_that_falls_silent_within_its_answer_ends_the_stream_with_an_error(tmp_path: Path) -> None:
    async with one_engine(tmp_path, timeouts={"between_bytes": 0.2}) as (engine, running):
        engine.faults = Faults(hang_after=2)
        answer = await answer_to(running, ask(stream=True))
        assert json.loads(answer.events[-2].removeprefix(b"data: "))["error"]["code"] == "between_bytes_timeout"
        await engine.until(lambda e: e.aborted == 1)


async def test_a_stream_goes_on_at_another_engine_where_one_falls_silent_for_as_long_as_its_model_allows(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(SimulatedEngine("m", uds=tmp_path / name)) for name in "ab"]
        model = remote(*(engine.address for engine in engines), recovery=True, timeouts={"between_bytes": 0.2})
        running = await stack.enter_async_context(gateway({"m": model}, timeouts={"between_bytes": 60.0}))
        expected = said(await answer_to(running, ask(stream=True, tokens=8)))
        for first in engines:
            first.faults = Faults(hang_after=3)
            while not first.counts.aborted:
                assert said(await answer_to(running, ask(stream=True, tokens=8))) == expected
            first.faults = NO_FAULTS
        assert 'headgate_stream_recoveries_total{model="m",outcome="recovered"} 2' in await running.metrics()


def said(answer: Response) -> str:
    """Return what a stream says; it must have come to its end."""
    assert answer.events[-1] == b"data: [DONE]"
    chunks = [json.loads(event[6:]) for event in answer.events if event.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@pytest.mark.parametrize(("code", "status"), [(400, 400), (500, 502)])
async def test_an_error_instead_of_a_stream_has_its_status(code: int, status: int) -> None:
    event = b'data: {"error":{"message":"no","type":"X","code":%d}}\n\n' % code
    async with scripted_engine() as engine, gateway({"m": remote(engine.url)}) as running:
        engine.answer = events(b": soon\n\n" + event + b"data: [DONE]\n\n")
        answer = await answer_to(running, ask(stream=True))
        assert (answer.status, answer.json["error"]["message"]) == (status, "no")
        await running.gateway.plane.idle()
        assert "0 in flight, 0 queued" in repr(running)


async def test_an_error_instead_of_a_stream_is_another_replicas_chance(tmp_path: Path) -> None:
    async with (
        scripted_engine() as dead,
        SimulatedEngine("m", uds=tmp_path / "a") as good,
        gateway({"m": remote(dead.url, good.address, policy="round_robin")}) as running,
    ):
        dead.answer = events(b'data: {"error":{"message":"EngineCore died","code":500}}\n\ndata: [DONE]\n\n')
        for _ in range(4):
            answer = await answer_to(running, ask(stream=True))
            assert (answer.status, answer.events[-1]) == (200, b"data: [DONE]")
            assert not any(b'"error"' in event for event in answer.events)
        assert dead.heads


async def test_an_error_within_the_stream_is_normalised(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (engine, running):
        engine.faults = Faults(error_after=2)
        answer = await answer_to(running, ask(stream=True))
        error = json.loads(answer.events[-2].removeprefix(b"data: "))["error"]
        assert error["type"] == "server_error"
        assert error["code"] == "upstream_failed"
        assert answer.events[-1] == b"data: [DONE]"
        assert answer.events.count(b"data: [DONE]") == 1


@pytest.mark.parametrize(
    "faults",
    [
        Faults(segment_bytes=1),
        Faults(segment_bytes=7, comments=True),
        Faults(crlf=True),
        Faults(usage_on_every_event=True),
    ],
    ids=str,
)
async def test_however_a_stream_is_cut_into_segments_its_events_arrive_whole(tmp_path: Path, faults: Faults) -> None:
    async with one_engine(tmp_path) as (engine, running):
        plain = await answer_to(running, ask(stream=True))
        engine.faults = faults
        odd = await answer_to(running, ask(stream=True))
        texts = [
            "".join(
                choice["delta"].get("content") or ""
                for event in answer.events
                if event.startswith(b"data: {")
                for choice in json.loads(event[6:])["choices"]
            )
            for answer in (plain, odd)
        ]
        assert texts[0] == texts[1] != ""
        assert odd.events[-1].strip() == b"data: [DONE]"


async def test_events_larger_than_the_sockets_buffers_arrive_whole(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (engine, running):
        engine.faults = Faults(event_bytes=3_000_000)
        answer = await answer_to(running, ask(stream=True, tokens=3))
        assert len(answer.body) > 9_000_000
        assert answer.events[-1] == b"data: [DONE]"


async def test_a_long_silence_is_filled_with_comments_and_the_status_is_committed(tmp_path: Path) -> None:
    async with one_engine(tmp_path, timeouts={"keep_alive_comment": 0.1}) as (engine, running):
        engine.timing = Timing(ttft=0.6)
        async with await running.wire() as wire:
            await wire.request("POST", CHAT, ask(stream=True))
            events = [event async for event in wire.events()]
        assert events[0] == b": keep-alive"
        assert events[-1] == b"data: [DONE]"
        engine.faults = Faults(status=500, delay=0.5)
        answer = await answer_to(running, ask(stream=True))
        assert answer.status == 200
        assert json.loads(answer.events[-2].removeprefix(b"data: "))["error"]["code"] == "upstream_failed"


@pytest.mark.parametrize("path", ["/tokenize", "/v1/messages/count_tokens"])
async def test_what_is_no_stream_is_waited_for_whatever_the_client_says_of_streaming(tmp_path: Path, path: str) -> None:
    async with one_engine(tmp_path, timeouts={"keep_alive_comment": 0.1}) as (engine, running):
        engine.faults = Faults(delay=0.5)
        async with await running.wire() as wire:
            await wire.request("POST", path, ask(stream=True))
            answer = await wire.response()
        assert answer.status == 200
        assert "error" not in answer.json


async def test_connections_that_the_engine_closes_while_idle_cost_no_request(tmp_path: Path) -> None:
    async with one_engine(tmp_path) as (engine, running):
        engine.faults = Faults(close_idle_after=0.0)
        for _ in range(50):
            assert (await answer_to(running, ask())).status == 200


async def test_before_the_first_byte_another_replica_is_asked(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "a") as good,
        SimulatedEngine("m", uds=tmp_path / "b") as bad,
        gateway({"m": remote(good.address, bad.address, policy="round_robin")}) as running,
    ):
        for faults in (Faults(crash_after=0), Faults(refuse=True)):
            bad.faults = faults
            for _ in range(4):
                assert (await answer_to(running, ask())).status == 200
        assert good.served == 8
        assert "1 ready" in repr(running)


@pytest.mark.parametrize(
    "faults",
    [
        *(Faults(cut_after=3, cut=cut) for cut in Cut),
        Faults(error_after=3),
        Faults(crash_after=3),
        Faults(crash_after=1),
    ],
    ids=["end", "close", "reset", "mid_event", "error", "crash", "early crash"],
)
async def test_a_stream_goes_on_at_another_replica(tmp_path: Path, faults: Faults) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "a") as good,
        SimulatedEngine("m", uds=tmp_path / "b") as bad,
        gateway({"m": remote(good.address, bad.address, policy="round_robin", recovery=True)}) as running,
    ):
        bad.faults = faults
        for _ in range(2):
            answer = await answer_to(running, ask(stream=True, tokens=6))
            chunks = [json.loads(event[6:]) for event in answer.events if event.startswith(b"data: {")]
            choices = [choice for each in chunks for choice in each["choices"]]
            assert "".join(choice["delta"]["content"] for choice in choices) == " t0 t1 t2 t3 t4 t5"
            assert len({each["id"] for each in chunks}) == 1
            assert answer.events[-1] == b"data: [DONE]"
        assert 'headgate_stream_recoveries_total{model="m",outcome="recovered"} 1.0' in await running.metrics()
        await running.gateway.plane.idle()
        assert "0 in flight, 0 queued" in repr(running)


async def test_an_engine_that_is_full_is_left_for_another_at_once(tmp_path: Path) -> None:
    async with (
        SimulatedEngine("m", uds=tmp_path / "a") as free,
        SimulatedEngine("m", uds=tmp_path / "b") as full,
        gateway({"m": remote(free.address, full.address, policy="round_robin")}) as running,
    ):
        full.faults = Faults(status=503)
        for _ in range(4):
            assert (await answer_to(running, ask())).status == 200
        assert free.served == 4


async def test_one_models_failing_engine_leaves_the_others_alone(tmp_path: Path) -> None:
    async with SimulatedEngine("m", uds=tmp_path / "a") as engine:
        models = {"m": remote(engine.address), "gone": remote(f"unix:{tmp_path}/nobody", hold=0)}
        async with gateway(models, ready=["m"]) as running:
            assert (await answer_to(running, ask())).status == 200
            refused = await answer_to(running, ask() | {"model": "gone"})
            assert error_of(refused) == (503, "no_ready_replica")
            assert refused.header("retry-after")


# what servers in the field send


def chunk(text: str = "", *, finish: str | None = None) -> bytes:
    """Write an event of a chat with the spaces that Python's JSON has."""
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


DONE = b"data: [DONE]\n\n"
CONTENT = chunk("Hello ") + chunk("there") + chunk(finish="stop")


def text_of(answer: Response) -> str:
    """Put the text of a stream together, which must be complete and without an error."""
    assert answer.status == 200
    *events, last = answer.events
    assert last.strip() == b"data: [DONE]"
    return "".join(
        json.loads(event.removeprefix(b"data:"))["choices"][0]["delta"].get("content", "") for event in events
    )


@pytest.mark.parametrize(
    "body",
    [
        CONTENT + DONE,
        CONTENT + b"data: [DONE]",
        CONTENT + b"data: [DONE]\n",
        CONTENT + b"data: [DONE] \n\n",
        CONTENT,
        CONTENT[:-2],
        CONTENT[:-1],
        b"\xef\xbb\xbf" + CONTENT + DONE,
        (CONTENT + DONE).replace(b"\n", b"\r\n"),
        (CONTENT + DONE).replace(b"\n", b"\r"),
        CONTENT.replace(b"\n", b"\r")[:-1],
        b"retry: 3000\n\nevent: ping\n\ndata:\n\n" + CONTENT + DONE,
        chunk("Hello ")
        + b"retry: 3000\n\n"
        + chunk("there")
        + b"event: ping\n\ndata:\n\n"
        + chunk(finish="stop")
        + DONE,
        CONTENT + DONE + b"data: {more}\n\n",
    ],
)
@pytest.mark.parametrize("framing", ["one chunk", "a chunk for each event", "until the connection closes"])
async def test_a_stream_with_all_of_its_content_is_complete_however_it_ends(body: bytes, framing: str) -> None:
    async with scripted_engine() as engine, gateway({"m": remote(engine.url)}) as running:
        if framing == "one chunk":
            engine.answer = events(body)
        elif framing == "a chunk for each event":
            pieces = re.split(rb"(?<=\n\n)|(?<=\r\r)|(?<=\r\n\r\n)", body)
            engine.answer = [b"".join(events(*filter(None, pieces)))]
        else:
            engine.answer = [
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + body,
            ]
            engine.closes = True
        assert text_of(await answer_to(running, ask(stream=True))) == "Hello there"
        await running.gateway.plane.idle()
        assert 'code="200"' in await running.metrics()


@pytest.mark.parametrize(
    "body", [chunk("Hello"), chunk("Hello")[:-20], chunk("Hello") + b"data: [DO", b": comment\n\n", b""]
)
async def test_a_stream_that_lacks_content_is_an_error_though_its_body_ends_cleanly(body: bytes) -> None:
    async with scripted_engine() as engine, gateway({"m": remote(engine.url)}) as running:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body)
        engine.answer = [head + body]
        answer = await answer_to(running, ask(stream=True))
        assert b'"code":"upstream_failed"' in answer.body
        assert answer.body.count(DONE) == (1 if answer.status == 200 else 0)


async def test_an_error_that_has_no_blank_line_has_its_status() -> None:
    async with scripted_engine() as engine, gateway({"m": remote(engine.url)}) as running:
        engine.answer = events(b'data: {"error":{"message":"no","code":400}}')
        assert (await answer_to(running, ask(stream=True))).status == 400


LIMITS = b"retry-after: 7\r\nretry-after-ms: 6500\r\nx-should-retry: false\r\nx-ratelimit-remaining-requests: 0\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        [whole(b'{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}', b"429 X", LIMITS)],
        [
            events(b'data: {"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}\n\n')[
                0
            ].replace(b"\r\n", b"\r\n" + LIMITS, 1)
        ],
    ],
    ids=["response", "stream"],
)
async def test_an_engines_limits_and_advice_reach_the_client(answer: list[bytes]) -> None:
    async with scripted_engine() as engine, gateway({"m": remote(engine.url)}) as running:
        engine.answer = answer
        got = await answer_to(running, ask(stream=True))
        assert error_of(got) == (429, "insufficient_quota")
        assert got.json["error"]["type"] == "insufficient_quota"
        told = ("retry-after", "retry-after-ms", "x-should-retry", "x-ratelimit-remaining-requests")
        assert [got.header(name) for name in told] == ["7", "6500", "false", "0"]


async def test_a_compressed_response_passes_as_it_is() -> None:
    for media, body in (
        (b"application/json", b'{"usage":{"prompt_tokens":3}}'),
        (b"text/event-stream", CONTENT + DONE),
    ):
        packed = gzip.compress(body)
        head = b"content-type: %b\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % (media, len(packed))
        async with scripted_engine() as engine, gateway({"m": remote(engine.url)}) as running:
            engine.answer = [b"HTTP/1.1 200 OK\r\n" + head + packed]
            answer = await answer_to(running, ask(stream=media.startswith(b"text")))
            assert (answer.status, answer.header("content-encoding")) == (200, "gzip")
            assert gzip.decompress(answer.body) == body
            assert b"accept-encoding: identity\r\n" in engine.heads[0]
