"""Which replicas are asked for one request, and what is made of their failures."""

from __future__ import annotations

import pytest

from tests.kit.playbook import Clock, Playbook, post
from tests.kit.scripted import whole

GOOD = whole(b'{"ok":1}')
FULL = whole(b'{"error":{"message":"Full."}}', b"503 Service Unavailable")


def refusal(status: bytes, headers: bytes = b"") -> bytes:
    return whole(b'{"error":{"message":"No."}}', status, headers)


def status_of(play: Playbook) -> int:
    assert set(play.held()) == {0}
    return int(play.client.got().split(b" ", 2)[1])


async def test_a_full_replica_is_left_for_another() -> None:
    play = Playbook(engines=2)
    play.client.sends(post())
    play.last_asked.says(FULL)
    assert len(set(play.asked)) == 2
    play.last_asked.says(GOOD)
    assert status_of(play) == 200
    assert sum(play.attempts("full").values()) == 1


@pytest.mark.parametrize(
    "status", [b"500 Internal Server Error", b"502 Bad Gateway", b"503 Service Unavailable", b"504 Gateway Timeout"]
)
async def test_a_replica_that_fails_is_left_for_another(status: bytes) -> None:
    play = Playbook(engines=2)
    play.client.sends(post())
    play.last_asked.says(refusal(status))
    assert len(set(play.asked)) == 2
    play.last_asked.says(GOOD)
    assert status_of(play) == 200
    assert play.metrics.of("m").retries == {"retried": 1, "over_budget": 0, "held": 0}


@pytest.mark.parametrize("dies", [False, True])
async def test_a_request_at_which_two_replicas_fail_alike_is_not_tried_at_a_third(dies: bool) -> None:
    play = Playbook(engines=3)
    play.client.sends(post())
    for pid in (b"17", b"23"):
        if dies:
            play.last_asked.line.closes()
            await play.turn()
        else:
            said = b'{"error":{"message":"The core %b died."}}' % pid
            play.last_asked.says(whole(said, b"500 Internal Server Error"))
    assert status_of(play) == 502
    assert len(play.asked) == 2


async def test_a_request_at_which_two_replicas_fail_differently_is_tried_at_a_third() -> None:
    play = Playbook(engines=3)
    play.client.sends(post())
    play.last_asked.says(refusal(b"500 Internal Server Error"))
    play.last_asked.line.closes()
    await play.turn()
    play.last_asked.says(GOOD)
    assert status_of(play) == 200


async def test_replicas_that_refuse_the_connection_are_not_what_the_request_kills() -> None:
    play = Playbook(engines=3)
    for engine in play.engines:
        engine.slow_to_accept = True
    play.client.sends(post())
    for _ in range(2):
        next(engine for engine in play.engines if engine.connecting).refuses()
    third = next(engine for engine in play.engines if engine.connecting)
    third.accepts()
    third.says(GOOD)
    assert status_of(play) == 200


RESPONSES = "/v1/responses"


async def test_what_an_engine_may_have_kept_is_not_asked_for_twice() -> None:
    play = Playbook(engines=2)
    play.client.sends(post(RESPONSES))
    play.last_asked.line.closes()
    await play.turn()
    assert status_of(play) == 502
    assert len(play.asked) == 1


async def test_what_an_engine_has_not_begun_is_asked_of_another_even_if_it_would_be_kept() -> None:
    play = Playbook(engines=2)
    play.client.sends(post(RESPONSES))
    play.last_asked.says(FULL)
    play.last_asked.says(GOOD)
    assert status_of(play) == 200


async def test_a_pool_that_has_spent_its_retries_tells_the_client_at_once(clock: Clock) -> None:
    play = Playbook(engines=2, clock=clock)
    statuses = []
    for _ in range(11):
        play.client.sends(post())
        play.last_asked.says(FULL)
        if len(play.asked) % 2 == 0:
            play.last_asked.says(GOOD)
        statuses.append(status_of(play))
    # One tenth of the ten that were answered is the eleventh retry.
    assert statuses == [200] * 11
    play.client.sends(post())
    play.last_asked.says(FULL)
    assert status_of(play) == 503
    assert play.metrics.of("m").retries == {"retried": 11, "over_budget": 1, "held": 0}
    clock.now += 20.0
    play.client.sends(post())
    play.last_asked.says(FULL)
    play.last_asked.says(GOOD)
    assert status_of(play) == 200


async def test_no_more_than_three_replicas_are_asked_for_one_request() -> None:
    play = Playbook(engines=5)
    play.client.sends(post())
    for _ in range(3):
        play.last_asked.says(FULL)
    assert len(play.asked) == len(set(play.asked)) == 3
    assert status_of(play) == 503


@pytest.mark.parametrize(
    ("status", "answered"),
    [
        (b"400 Bad Request", 400),
        (b"404 Not Found", 404),
        (b"429 Too Many Requests", 429),
        (b"501 Not Implemented", 501),
    ],
)
async def test_what_is_the_requests_own_fault_is_not_asked_of_another_replica(status: bytes, answered: int) -> None:
    play = Playbook(engines=2)
    play.client.sends(post())
    play.last_asked.says(refusal(status))
    assert len(play.asked) == 1
    assert status_of(play) == answered


async def test_a_redirect_is_never_followed() -> None:
    play = Playbook()
    play.client.sends(post())
    play.last_asked.says(refusal(b"302 Found", b"location: http://elsewhere/\r\n"))
    assert b"The engine answered with a redirect (302), which is never followed." in play.client.got()


async def test_a_refused_connection_is_tried_at_another_replica() -> None:
    play = Playbook(engines=2)
    for engine in play.engines:
        engine.slow_to_accept = True
    play.client.sends(post())
    (first,) = [engine for engine in play.engines if engine.connecting]
    assert "[trying; <Attempt at" in repr(next(iter(play.dispatcher.exchanges)))
    first.refuses()
    (second,) = [engine for engine in play.engines if engine.connecting]
    second.accepts()
    second.says(GOOD)
    assert status_of(play) == 200
    assert play.attempts("failed") == {first.name: 1}


async def test_a_client_that_leaves_while_connecting_gives_the_connection_up() -> None:
    play = Playbook()
    play.engines[0].slow_to_accept = True
    play.client.sends(post())
    play.client.leaves()
    await play.turn()
    assert play.engines[0].connecting[0].cancelled
    assert set(play.held()) == {0}


async def test_a_stale_connection_is_replaced_and_says_nothing_about_the_replica() -> None:
    play = Playbook()
    play.client.sends(post())
    play.last_asked.says(GOOD)
    assert status_of(play) == 200
    play.client.sends(post())
    play.engines[0].line.closes()
    await play.turn()
    play.engines[0].accepts()
    play.last_asked.says(GOOD)
    assert status_of(play) == 200
    assert play.attempts("failed") == {}
    assert play.attempts("ok") == {"m-0": 2}


async def test_after_the_first_byte_no_other_replica_is_asked() -> None:
    play = Playbook(engines=2)
    play.client.sends(post())
    play.last_asked.says(GOOD[:-1])
    play.last_asked.line.closes()
    await play.turn()
    assert len(play.asked) == 1
    assert status_of(play) == 502


async def test_a_replica_that_fails_again_and_again_is_left_out() -> None:
    play = Playbook()
    for _ in range(3):
        play.client.sends(post())
        play.last_asked.says(b"nonsense\r\n\r\n")
        assert status_of(play) == 502
    play.client.sends(post())
    assert b'"code":"no_ready_replica"' in play.client.got()
    assert len(play.asked) == 3


async def test_a_response_that_says_that_the_engine_failed_does_not_speak_for_its_replica() -> None:
    play = Playbook()
    for said in (b"nonsense\r\n\r\n", b"nonsense\r\n\r\n", refusal(b"500 Internal Server Error"), b"nonsense\r\n\r\n"):
        play.client.sends(post())
        play.last_asked.says(said)
        play.client.got()
    assert "0 ready" in repr(play.pool)


async def test_cut_streams_alone_never_make_the_only_replica_unavailable() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    play = Playbook()
    for _ in range(5):
        play.client.sends(post(stream=True))
        play.last_asked.says(head + b'1b\r\ndata: {"choices":[{"x":1}]}\n\n\r\n')
        play.last_asked.line.closes()
        await play.turn()
    assert "1 ready" in repr(play.pool)


async def test_where_no_replica_is_left_the_client_is_told_what_the_last_one_said() -> None:
    play = Playbook(engines=2)
    play.client.sends(post())
    play.last_asked.says(FULL)
    play.last_asked.says(FULL)
    assert status_of(play) == 503


STRICT = whole(b'{"error":{"message":"Unrecognized request argument supplied: stream_options"}}', b"400 Bad Request")
EVENTS = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 59\r\n\r\n"
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: [DONE]'
)


async def test_an_engine_that_knows_no_stream_options_is_asked_once_more_without_and_remembered() -> None:
    play = Playbook()
    play.client.sends(post(stream=True))
    assert play.last_asked.line.got().endswith(b'"stream": true,"stream_options":{"include_usage":true}}')
    play.last_asked.says(STRICT)
    assert play.last_asked.line.got().endswith(b'content-length: 30\r\n\r\n{"model": "m", "stream": true}')
    play.last_asked.says(EVENTS + b"\n\n")
    assert play.client.got().startswith(b"HTTP/1.1 200 OK\r\n")
    play.client.sends(post(stream=True))
    assert play.last_asked.line.got().endswith(b'{"model": "m", "stream": true}')


async def test_a_client_that_asked_for_usage_itself_is_told_that_the_engine_knows_no_stream_options() -> None:
    play = Playbook()
    play.client.sends(post(stream=True, stream_options={"include_usage": True}))
    play.last_asked.says(STRICT)
    assert status_of(play) == 400
    assert len(play.asked) == 1
