"""A request of the gateway's own goes the way of every request."""

from __future__ import annotations

import asyncio
import json
from time import perf_counter

import pytest

from gateway.core.context import RequestContext, RequestHead
from gateway.exchange.internal_call import InternalCall, InternalResponse
from tests.kit.playbook import CHAT, EMBEDDINGS, Playbook, post
from tests.kit.scripted import whole

GOOD = whole(b'{"ok":1}')


def asking(play: Playbook, path: str = EMBEDDINGS, **fields: object) -> asyncio.Task[InternalResponse]:
    head = RequestHead("internal", b"POST", path.encode(), path.encode(), "1.0")
    body = json.dumps({"model": "m", **fields}).encode()
    context = RequestContext(head, "req-1-guard", body, perf_counter())
    play.listener.application.admit_head(head)
    return asyncio.create_task(InternalCall(play.listener.application).ask(context))


async def test_it_is_asked_of_an_engine_and_counted_like_any_request() -> None:
    play = Playbook()
    asked = asking(play, input="Hi")
    await play.turn()
    assert b"\r\nx-request-id: req-1-guard\r\n" in play.engines[0].line.got()
    play.engines[0].says(GOOD)
    assert await asked == InternalResponse(200, b'{"ok":1}')
    assert set(play.held()) == {0}
    assert "[1 requests of" in repr(play.metrics)


async def test_it_waits_in_the_queue_like_any_request() -> None:
    play = Playbook(limit=1)
    play.client.sends(post())
    asked = asking(play)
    await play.turn()
    assert "1 in flight, 1 queued" in repr(play)
    play.engines[0].says(GOOD)
    await play.turn()
    play.engines[0].says(GOOD)
    assert (await asked).status == 200


async def test_an_error_is_its_response() -> None:
    play = Playbook(limit=1, max_queue=0)
    play.client.sends(post())
    refused = await asking(play)
    assert refused.status == 503
    assert json.loads(refused.body)["error"]["code"] == "queue_full"


async def test_to_be_cancelled_is_to_leave() -> None:
    play = Playbook()
    asked = asking(play)
    await play.turn()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert play.engines[0].line.aborted
    assert play.aborts("client_left") == 1
    assert set(play.held()) == {0}


async def test_the_events_of_a_stream_are_joined() -> None:
    play = Playbook()
    asked = asking(play, CHAT, stream=True, stream_options={"include_usage": True})
    await play.turn()
    event, done = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', b"data: [DONE]\n\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
    play.engines[0].says(head % len(event + done) + event, done)
    assert await asked == InternalResponse(200, event + done)


async def test_half_a_large_body_is_no_response() -> None:
    play = Playbook()
    asked = asking(play)
    await play.turn()
    play.engines[0].says(whole(b"x" * 3_000_000)[:2_000_000])
    play.engines[0].line.closes()
    assert await asked == InternalResponse(502, b"")
