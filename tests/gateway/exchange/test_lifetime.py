"""However a request ends, nothing of it lives on until the cyclic collector comes round, which it seldom does."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.core.context import RequestContext
from gateway.exchange.attempt import Attempt
from gateway.exchange.exchange import Exchange
from gateway.exchange.race import Race
from tests.kit.playbook import EMBEDDINGS, Playbook, post
from tests.kit.scripted import whole

GOOD = whole(b'{"id":"1","choices":[{"message":{"content":"Hi"}}]}')
OUT_OF_ORDER = whole(b'{"error":{"message":"No."}}', b"500 Internal Server Error")
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


@pytest.fixture(autouse=True)
def _collector_off() -> Iterator[None]:
    """Keep the collector from helping, and take what other tests have left out of its sight, and of ``alive``'s."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()


def alive() -> list[Any]:
    # By type and not by isinstance, which looks through weak proxies and fails for those of what is gone.
    return [each for each in gc.get_objects() if type(each) in (Exchange, Attempt, Race, RequestContext)]


def event(text: str) -> bytes:
    data = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text.encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def ask(play: Playbook, **fields: Any) -> None:
    play.client.sends(post(messages=[{"role": "user", "content": "Hi"}], **fields))


async def whole_response(play: Playbook) -> None:
    ask(play)
    play.last_asked.says(GOOD)


async def stream(play: Playbook) -> None:
    ask(play, stream=True)
    play.last_asked.says(STREAM, event("a"), event("b"), DONE)


async def stream_that_breaks_off(play: Playbook) -> None:
    ask(play, stream=True)
    play.last_asked.says(STREAM, event("a"))
    play.last_asked.line.closes()
    await play.turn()


async def stream_whose_client_leaves(play: Playbook) -> None:
    ask(play, stream=True)
    play.last_asked.says(STREAM, event("a"))
    play.client.leaves()
    await play.turn()


async def retry(play: Playbook) -> None:
    ask(play)
    play.last_asked.says(OUT_OF_ORDER)
    play.last_asked.says(GOOD)


async def failure_of_both(play: Playbook) -> None:
    ask(play)
    play.last_asked.says(OUT_OF_ORDER)
    play.last_asked.says(OUT_OF_ORDER)


async def race_won_by_the_second(play: Playbook) -> None:
    play.late_after(0.02)
    play.client.sends(post(EMBEDDINGS, input="Hi"))
    play.timers.fire()
    play.last_asked.says(GOOD)


async def race_that_was_not_needed(play: Playbook) -> None:
    play.late_after(0.02)
    play.client.sends(post(EMBEDDINGS, input="Hi"))
    play.last_asked.says(GOOD)


@pytest.mark.parametrize(
    "conversation",
    [
        whole_response,
        stream,
        stream_that_breaks_off,
        stream_whose_client_leaves,
        retry,
        failure_of_both,
        race_won_by_the_second,
        race_that_was_not_needed,
    ],
)
async def test_nothing_of_a_request_is_left(conversation: Callable[[Playbook], Any]) -> None:
    play = Playbook(engines=2, hedge=True)
    await conversation(play)
    await play.turn()
    assert set(play.held()) == {0}
    assert alive() == []
