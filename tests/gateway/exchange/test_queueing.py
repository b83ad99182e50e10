"""Who waits in the queue is served by class and tenant, within its deadline, and within the limit of tokens."""

from __future__ import annotations

import json
import re
from hashlib import sha256

import pytest

from tests.kit.playbook import CHAT, Client, Clock, Playbook, post
from tests.kit.scripted import whole

GOOD = whole(b'{"ok":1}')
KEYS = [{"id": each, "sha256": sha256(f"sk-{each}".encode()).hexdigest()} for each in ("heavy", "light")]


def asks(play: Playbook, user: str, *, headers: bytes = b"", **fields: object) -> Client:
    client = play.new_client()
    client.sends(post(CHAT, headers=headers, user=user, **fields))
    return client


def of(key: str) -> bytes:
    return b"authorization: Bearer sk-%b\r\n" % key.encode()


def error_of(client: Client) -> tuple[str, float]:
    """Give the code of a refusal, and the milliseconds after which to come back."""
    head, _, body = client.got().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    (after,) = re.findall(rb"\r\nretry-after-ms: (\d+)", head)
    return json.loads(body)["error"]["code"], float(after)


async def order(play: Playbook, requests: int) -> list[str]:
    """Answer so many requests, one after the other, and tell whose they were."""
    users = []
    for _ in range(requests):
        users.append(re.findall(rb'"user": ?"(\w+)"', play.last_asked.line.got())[-1].decode())
        play.last_asked.says(GOOD)
        await play.turn()
    return users


async def test_keys_are_tenants_that_take_turns() -> None:
    play = Playbook(limit=1, keys=KEYS)
    for key in ("heavy", "heavy", "heavy", "heavy", "light", "light"):
        asks(play, key, headers=of(key), max_tokens=100)
    assert await order(play, 6) == ["heavy", "heavy", "light", "heavy", "light", "heavy"]
    assert set(play.held()) == {0}


async def test_a_key_that_fills_the_queue_does_not_keep_another_out() -> None:
    play = Playbook(limit=1, max_queue=2, keys=KEYS)
    first, second, third = (asks(play, "heavy", headers=of("heavy")) for _ in range(3))
    asks(play, "light", headers=of("light"))
    assert error_of(third)[0] == "queue_full"
    assert play.metrics.of("m").admissions["refused"] == 1
    assert await order(play, 3) == ["heavy", "heavy", "light"]
    assert all(each.got().startswith(b"HTTP/1.1 200 ") for each in (first, second))
    assert set(play.held()) == {0}


async def test_a_client_may_stand_back_but_not_push_ahead() -> None:
    play = Playbook(limit=1)
    for user, priority in (("first", 0), ("back", 5), ("usual", None), ("pushy", -5)):
        asks(play, user, priority=priority)
    assert await order(play, 4) == ["first", "usual", "pushy", "back"]


@pytest.mark.parametrize("priority", ["high", 1.5, [], True, {}])
async def test_a_priority_that_is_no_whole_number_is_refused(priority: object) -> None:
    play = Playbook()
    got = asks(play, "x", priority=priority).got()
    assert got.startswith(b"HTTP/1.1 400 ")
    assert json.loads(got.partition(b"\r\n\r\n")[2])["error"]["param"] == "priority"


async def test_a_request_that_cannot_be_served_in_time_is_refused_at_once(clock: Clock) -> None:
    play = Playbook(clock=clock, limit=1)
    for number in range(20):
        asks(play, str(number))
    for _ in range(10):
        clock.now += 2.0
        await order(play, 1)
    code, after = error_of(asks(play, "late", headers=b"x-request-timeout-ms: 2000\r\n"))
    # Ten wait already, and one is served in about 1.3 s, as the mean has it by now.
    assert code == "deadline_unreachable"
    assert 5_000 < after < 20_000
    assert asks(play, "patient", headers=b"x-request-timeout-ms: 60000\r\n").got() == b""
    assert play.metrics.of("m").admissions["refused"] == 1


async def test_a_request_is_dropped_when_its_deadline_passes(clock: Clock) -> None:
    play = Playbook(clock=clock, limit=1)
    asks(play, "first")
    second = asks(play, "second", headers=b"x-request-timeout-ms: 800\r\n")
    play.tick(0.9)
    assert error_of(second)[0] == "queue_timeout"
    await order(play, 1)
    assert len(play.asked) == 1
    assert set(play.held()) == {0}


async def test_a_model_has_its_own_queue_timeout(clock: Clock) -> None:
    play = Playbook(clock=clock, limit=1, queue_timeout=3.0)
    asks(play, "first")
    second = asks(play, "second")
    play.tick(2.9)
    assert second.got() == b""
    play.tick(0.2)
    assert error_of(second)[0] == "queue_timeout"


async def test_tokens_in_flight_are_limited() -> None:
    play = Playbook(max_tokens=1_000)
    asks(play, "first", max_tokens=600)
    # A request that does not say how long its response may be counts as 512 tokens and its prompt.
    asks(play, "second")
    assert play.held()[:2] == (1, 1)
    assert await order(play, 2) == ["first", "second"]
    assert set(play.held()) == {0}
