"""With fast paths or without, a client gets the same and the same is counted: a differential test.

Requests, responses and streams come again on the same connections, cut at random places, so that heads and events are
recognised by their bytes where that is switched on, and parsed where it is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.cases import SIZES, Choices, cases, cut
from tests.fuzz.test_relay import ANSWERS, GOOD, End, Plane, Said, asked, facts, read

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", "/v1/embeddings")

_TEXTS = (b"a", b"Hello", b" world", b"\\n", b"\\u00e9", "é".encode(), b'\\"', b"x" * 200, b"[DONE]", b"usage")
_EVENTS = {
    "/v1/chat/completions": b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n',
    "/v1/completions": b'data: {"id":"1","choices":[{"index":0,"text":"%b"}]}\n\n',
    "/v1/messages": b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"%b"}}\n\n',
    "/v1/responses": b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"%b"}\n\n',
    "/v1/embeddings": b'data: {"choices":[{"text":"%b"}]}\n\n',
}
_USAGE = b'"usage":{"prompt_tokens":3,"completion_tokens":7}'
_ENDS = {
    "/v1/chat/completions": b'data: {"choices":[],%b}\n\ndata: [DONE]\n\n' % _USAGE,
    "/v1/completions": b"data: [DONE]\n\n",
    "/v1/messages": b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    "/v1/responses": b'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n',
    "/v1/embeddings": b"data: [DONE]\n\n",
}
_ODD = (b": comment\n\n", b"id: 7\ndata: {}\n\n", b"retry: 5\n\n", b"data:\n\n", b"data: {\n\n", b"\r\n")


@dataclass(frozen=True)
class Counted:
    """What is counted of the requests on one connection, but for times."""

    requests: object
    attempts: object
    input_tokens: int
    output_tokens: int | None
    """``None`` where an engine reported no usage: then tokens are estimated by events, and those without a text are
    told only by reading each."""


def stream(path: str, script: bytes) -> bytes:
    """Write a stream in which most events are alike, framed in chunks that begin and end anywhere."""
    choose = Choices(script)
    events = [_EVENTS[path] % choose.one(_TEXTS) for _ in range(choose.number(12))]
    if choose.number(4) == 0:
        events.insert(choose.number(len(events) + 1), choose.one(_ODD))
    if choose.number(6):
        events.append(_ENDS[path])
    body = b"".join(events)
    pieces = events if choose.number(2) else list(cut(body, bytes([choose.number(256), choose.number(256)])))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + chunks + b"0\r\n\r\n"


async def told(script: list[tuple[str, bool, Said]], *, fast_paths: bool) -> tuple[list[object], Counted]:
    """Have requests answered one after the other, and return what the client got and what was counted."""
    plane = Plane(fast_paths=fast_paths)
    got: list[object] = []
    for path, streams, said in script:
        if plane.transport.ended or plane.transport.is_closing():
            break
        got.append(facts(path, await read(await plane.ask(asked(path, stream=streams), said))))
    counters = plane.metrics.of("m")
    metered = all(_USAGE in said.data for _, streams, said in script if streams or b"vent-" in said.data)
    counted = Counted(
        dict(plane.metrics.snapshot().requests),
        {outcome: dict(numbers) for outcome, numbers in counters.attempts.items()},
        counters.input_tokens,
        counters.output_tokens if metered else None,
    )
    await plane.leave()
    return got, counted


async def check(script: list[tuple[str, bool, Said]]) -> None:
    assert await told(script, fast_paths=True) == await told(script, fast_paths=False)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


STREAMS = st.tuples(st.sampled_from(PATHS), st.binary(max_size=40), SIZES).map(
    lambda drawn: (drawn[0], True, Said(stream(drawn[0], drawn[1]), drawn[2], End.SILENCE))
)
RESPONSES = st.tuples(st.sampled_from(PATHS), st.booleans(), ANSWERS, SIZES, st.sampled_from(End)).map(
    lambda drawn: (drawn[0], drawn[1], Said(*drawn[2:]))
)
PLAIN = st.tuples(st.sampled_from(PATHS), st.just(False), st.just(GOOD))


@cases(0.04)
@given(st.lists(STREAMS, min_size=1, max_size=3))
def test_streams_whose_events_come_again(loop: asyncio.AbstractEventLoop, script: list[tuple[str, bool, Said]]) -> None:
    loop.run_until_complete(check(script))


@cases(0.04)
@given(st.lists(st.one_of(STREAMS, RESPONSES, PLAIN), min_size=2, max_size=5))
def test_requests_and_responses_whose_heads_come_again(
    loop: asyncio.AbstractEventLoop, script: list[tuple[str, bool, Said]]
) -> None:
    loop.run_until_complete(check(script))
