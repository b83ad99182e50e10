"""How many Python calls a request and an event may cost: what is added to the hot path is seen here first.

One more Python call is about 350 of the 94,000 instructions of a request (callgrind). The numbers are budgets: a change
that needs fewer lowers them. The access log adds one.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from types import FrameType
from typing import Any

import pytest

from gateway.observe.tracing.tracer import Tracer
from gateway.pools.policies.prefix import Prefix
from tests.kit.playbook import CHAT, Playbook, post
from tests.kit.scripted import whole

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
RESPONSE = whole(
    b'{"id":"1","choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def calls(act: Callable[[], Any]) -> Counter[str]:
    """Count the Python functions of the gateway that are called while ``act`` runs, by file and name.

    The cyclic collector rests meanwhile: it would call what tells of the end of objects that other tests have left.
    """
    found: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and "/tests/" not in frame.f_code.co_filename:
            found[f"{frame.f_code.co_filename.rpartition('/gateway/')[2]}:{frame.f_code.co_qualname}"] += 1

    gc.disable()
    sys.setprofile(profile)
    try:
        act()
    finally:
        sys.setprofile(None)
        gc.enable()
    return found


def event(number: int) -> bytes:
    data = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n' % (number % 10)
    return b"%x\r\n%b\r\n" % (len(data), data)


async def test_a_unary_request_with_a_known_head_costs_so_many_calls() -> None:
    play, request = Playbook(engines=2), post(CHAT, **HELLO)
    for _ in range(4):
        play.client.sends(request)
        play.last_asked.says(RESPONSE)
    down = calls(lambda: play.client.sends(request))
    line = play.last_asked.line
    back = calls(lambda: line.says(RESPONSE))
    assert play.client.got().count(b"HTTP/1.1 200 OK") == 5
    assert down.total() <= 25, f"{down}"
    assert back.total() <= 21, f"{back}"


@pytest.mark.parametrize(("limits", "most"), [({}, 46), ({"requests_per_minute": 99, "tokens_per_minute": 10**6}, 62)])
async def test_a_key_costs_no_calls_and_its_limits_so_many(limits: dict[str, int], most: int) -> None:
    play = Playbook(engines=2, keys=[{"id": "a", "sha256": sha256(b"sk").hexdigest(), "limits": limits}])
    request = post(CHAT, headers=b"authorization: Bearer sk\r\n", **HELLO)
    for _ in range(4):
        play.client.sends(request)
        play.last_asked.says(RESPONSE)
    down = calls(lambda: play.client.sends(request))
    line = play.last_asked.line
    back = calls(lambda: line.says(RESPONSE))
    assert play.client.got().count(b"HTTP/1.1 200 OK") == 5
    assert (down + back).total() <= most, f"{down + back}"


async def test_tracing_costs_a_request_that_is_not_recorded_no_call() -> None:
    play, request = Playbook(engines=2, tracer=Tracer(0.0, print, parent_based=True)), post(CHAT, **HELLO)
    for _ in range(4):
        play.client.sends(request)
        play.last_asked.says(RESPONSE)
    down = calls(lambda: play.client.sends(request))
    line = play.last_asked.line
    back = calls(lambda: line.says(RESPONSE))
    assert down.total() <= 25, f"{down}"
    assert back.total() <= 21, f"{back}"


async def test_routing_by_prefix_costs_so_many_calls_more() -> None:
    play = Playbook(engines=2)
    play.pool.set_policy(Prefix(100_000))
    request = post(CHAT, messages=[{"role": "user", "content": "word " * 400}], max_tokens=4)
    for _ in range(4):
        play.client.sends(request)
        play.last_asked.says(RESPONSE)
    down = calls(lambda: play.client.sends(request))
    line = play.last_asked.line
    back = calls(lambda: line.says(RESPONSE))
    assert play.client.got().count(b"HTTP/1.1 200 OK") == 5
    assert down.total() <= 25 + 12, f"{down}"
    assert back.total() <= 21 + 2, f"{back}"


@pytest.mark.parametrize("recovery", [False, True])
async def test_a_steady_event_costs_so_many_calls(recovery: bool) -> None:
    play = Playbook(engines=2, recovery=recovery)
    play.client.sends(post(CHAT, stream=True, **HELLO))
    line = play.last_asked.line
    line.says(STREAM_HEAD, *(event(number) for number in range(5)))
    play.client.got()
    found = calls(lambda: line.says(event(5)))
    assert play.client.got() == event(5)
    assert found.total() <= 3, f"{found}"
