"""Requests that come while no replica is ready wait for one, and those that lose theirs wait for its return."""

from __future__ import annotations

import json

import pytest

from gateway.pools.replica import EJECT_AFTER_FAILURES, ReplicaState
from tests.kit.playbook import Client, Clock, Playbook, post
from tests.kit.scripted import whole

GOOD = whole(b'{"ok":1}')
HOLD = 30.0

AWAITED = (ReplicaState.FETCHING, ReplicaState.STARTING, ReplicaState.RESTARTING, ReplicaState.FAILING)


def answer(client: Client) -> tuple[int, str]:
    """Read the status and the code of the error, if there is one."""
    head, _, body = client.got().partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), json.loads(body).get("error", {}).get("code", "")


def ask(play: Playbook, number: int = 1) -> list[Client]:
    clients = [play.new_client() for _ in range(number)]
    for client in clients:
        client.sends(post())
    return clients


@pytest.mark.parametrize("state", AWAITED)
async def test_a_request_waits_for_a_replica_that_may_be_ready_soon(state: ReplicaState) -> None:
    play = Playbook(hold=HOLD)
    play.replicas[0].set_state(state)
    (client,) = ask(play)
    assert (client.got(), play.asked) == (b"", [])
    assert "[0 running, 1 waiting; no limit; closed]" in repr(play.pool.admission)
    assert play.metrics.of("m").admissions["held"] == 1
    play.replicas[0].set_state(ReplicaState.READY)
    await play.turn()
    play.engines[0].says(GOOD)
    assert answer(client) == (200, "")
    assert set(play.held()) == {0}
    assert play.pool.admission.open


@pytest.mark.parametrize("state", [ReplicaState.FAILED, ReplicaState.STOPPED, ReplicaState.DRAINING])
async def test_what_will_not_be_ready_is_told_at_once(state: ReplicaState) -> None:
    play = Playbook(hold=HOLD)
    play.replicas[0].set_state(state)
    (client,) = ask(play)
    assert answer(client) == (503, "no_ready_replica")
    assert set(play.held()) == {0}


async def test_without_hold_a_request_is_refused_at_once() -> None:
    play = Playbook(hold=0.0)
    play.replicas[0].set_state(ReplicaState.STARTING)
    (client,) = ask(play)
    assert answer(client) == (503, "no_ready_replica")


async def test_those_that_are_held_are_told_when_none_will_come() -> None:
    play = Playbook(hold=HOLD, limit=2)
    play.replicas[0].set_state(ReplicaState.STARTING)
    clients = ask(play, 5)
    play.replicas[0].set_state(ReplicaState.FAILED)
    for _ in clients:
        await play.turn()
    assert {answer(client) for client in clients} == {(503, "no_ready_replica")}
    assert set(play.held()) == {0}


async def test_held_requests_go_in_their_order_and_never_beyond_the_slots() -> None:
    play = Playbook(hold=HOLD, limit=2)
    play.replicas[0].set_state(ReplicaState.STARTING)
    clients = ask(play, 5)
    play.replicas[0].set_state(ReplicaState.READY)
    await play.turn()
    assert play.held()[:2] == (2, 3)
    for client in clients:
        play.engines[0].asked.pop(0).says(GOOD)
        await play.turn()
        assert answer(client) == (200, "")
    assert set(play.held()) == {0}


async def test_a_request_is_held_for_so_long_and_not_longer(clock: Clock) -> None:
    play = Playbook(clock=clock, hold=HOLD, timeouts={"queue": 5.0})
    play.replicas[0].set_state(ReplicaState.STARTING)
    (client,) = ask(play)
    play.tick(HOLD - 0.1)
    assert client.got() == b""
    play.tick(0.2)
    got = client.got()
    assert b"\r\nretry-after: 2\r\n" in got
    assert b"no_ready_replica" in got
    assert set(play.held()) == {0}


async def test_after_it_was_held_a_request_may_wait_for_a_slot_as_long_as_any(clock: Clock) -> None:
    play = Playbook(clock=clock, hold=HOLD, limit=1, queue_timeout=5.0)
    play.replicas[0].set_state(ReplicaState.STARTING)
    _, second = ask(play, 2)
    play.tick(20.0)
    play.replicas[0].set_state(ReplicaState.READY)
    await play.turn()
    play.tick(4.9)
    assert second.got() == b""
    play.tick(0.2)
    assert answer(second) == (503, "queue_timeout")


async def test_a_client_that_leaves_is_not_held_any_more() -> None:
    play = Playbook(hold=HOLD)
    play.replicas[0].set_state(ReplicaState.STARTING)
    (client,) = ask(play)
    client.leaves()
    await play.turn()
    play.replicas[0].set_state(ReplicaState.READY)
    await play.turn()
    assert play.asked == []
    assert set(play.held()) == {0}


async def test_no_more_are_held_than_the_queue_has_room_for() -> None:
    play = Playbook(hold=HOLD, max_queue=2)
    play.replicas[0].set_state(ReplicaState.STARTING)
    *_, third = ask(play, 3)
    got = third.got()
    assert b'"No replica of this model is ready and 2 requests wait already."' in got
    assert b'"queue_full"' in got


async def test_a_drain_ends_what_is_held() -> None:
    play = Playbook(hold=HOLD)
    play.replicas[0].set_state(ReplicaState.STARTING)
    (client,) = ask(play)
    play.dispatcher.refuse_new()
    assert answer(client) == (503, "shutting_down")
    assert set(play.held()) == {0}


async def test_hold_can_be_changed_while_requests_are_held(clock: Clock) -> None:
    play = Playbook(clock=clock, hold=HOLD)
    play.replicas[0].set_state(ReplicaState.STARTING)
    first, second = ask(play, 2)
    first.leaves()
    play.pool.set_waits(5.0, None)
    play.tick(5.1)
    assert answer(second) == (503, "no_ready_replica")
    (third,) = ask(play)
    play.pool.set_waits(0.0, None)
    await play.turn()
    assert answer(third) == (503, "no_ready_replica")


async def test_a_limit_can_come_and_go_while_requests_are_held() -> None:
    play = Playbook(hold=HOLD)
    play.replicas[0].set_state(ReplicaState.STARTING)
    ask(play, 3)
    play.pool.admission.set_limits(2, 1024)
    assert play.held()[:2] == (0, 3)
    play.pool.admission.set_limits(None, 1024)
    assert play.held()[:2] == (0, 3)
    play.pool.admission.set_limits(2, 1024)
    play.replicas[0].set_state(ReplicaState.READY)
    await play.turn()
    assert play.held()[:2] == (2, 1)


# those whose replica is lost


async def test_requests_whose_only_replica_is_gone_wait_until_it_is_back() -> None:
    play = Playbook(hold=HOLD)
    play.engines[0].slow_to_accept = True
    play.replicas[0].on_suspicion = lambda: play.replicas[0].probe_failed("The engine refused the connection.")
    clients = ask(play, 5)
    for _ in range(EJECT_AFTER_FAILURES):
        play.engines[0].refuses()
    # The replica was probed and fails by now; what asks it meanwhile finds nobody either.
    while play.engines[0].connecting:
        play.engines[0].refuses()
        await play.turn()
    assert "5 waiting; no limit; closed" in repr(play.pool.admission)
    assert [client.got() for client in clients] == [b""] * 5
    play.engines[0].slow_to_accept = False
    play.replicas[0].set_state(ReplicaState.READY)
    await play.turn()
    for line in play.engines[0].asked:
        line.says(GOOD)
    assert {answer(client) for client in clients} == {(200, "")}
    assert set(play.held()) == {0}


async def test_a_request_that_was_under_way_is_asked_again_when_its_replica_is_back() -> None:
    play = Playbook(hold=HOLD)
    (client,) = ask(play)
    play.replicas[0].set_state(ReplicaState.RESTARTING)
    play.engines[0].line.closes()
    await play.turn()
    assert client.got() == b""
    assert play.metrics.of("m").retries["held"] == 1
    play.replicas[0].set_state(ReplicaState.READY)
    await play.turn()
    play.engines[0].says(GOOD)
    assert answer(client) == (200, "")
    assert set(play.held()) == {0}


async def test_a_request_that_may_be_what_kills_its_replica_is_asked_twice_at_most() -> None:
    play = Playbook(hold=HOLD)
    (client,) = ask(play)
    for _ in range(2):
        assert client.got() == b""
        play.replicas[0].set_state(ReplicaState.RESTARTING)
        play.engines[0].line.closes()
        await play.turn()
        play.replicas[0].set_state(ReplicaState.READY)
        await play.turn()
    assert answer(client) == (502, "upstream_failed")
    assert len(play.asked) == 2
    assert set(play.held()) == {0}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_whose_only_engine_says_that_its_core_has_died_is_asked_again(stream: bool) -> None:
    play = Playbook(hold=HOLD)
    client = play.new_client()
    client.sends(post(stream=stream))
    said = b"EngineCore encountered an issue. See stack trace (above) for the root cause."
    dead = b'{"error":{"message":"%b","type":"InternalServerError","param":null,"code":500}}' % said
    play.engines[0].says(whole(dead, status=b"500 Internal Server Error"))
    await play.turn()
    assert client.got() == b""
    assert repr(play.replicas[0].state) == "<ReplicaState.FAILING: 'failing'>"
    assert play.replicas[0].reason == said.decode()
    play.replicas[0].set_state(ReplicaState.RESTARTING)
    play.replicas[0].set_state(ReplicaState.READY)
    await play.turn()
    play.engines[0].says(GOOD)
    assert len(play.asked) == 2


async def test_a_request_that_kills_its_engine_twice_is_told_so() -> None:
    play = Playbook(hold=HOLD)
    (client,) = ask(play)
    dead = b'{"error":{"message":"EngineCore encountered an issue. See stack trace.","code":500}}'
    for _ in range(2):
        assert client.got() == b""
        play.engines[0].says(whole(dead, status=b"500 Internal Server Error"))
        play.replicas[0].set_state(ReplicaState.READY)
        await play.turn()
    assert answer(client) == (502, "upstream_failed")
    assert len(play.asked) == 2
    assert set(play.held()) == {0}


async def test_a_request_whose_response_has_begun_is_not_asked_again() -> None:
    play = Playbook(hold=HOLD)
    (client,) = ask(play)
    play.replicas[0].set_state(ReplicaState.RESTARTING)
    play.engines[0].says(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
    play.engines[0].line.closes()
    await play.turn()
    assert answer(client) == (502, "upstream_failed")


async def test_a_replica_that_comes_and_goes_is_waited_for_no_longer_than_hold(clock: Clock) -> None:
    play = Playbook(clock=clock, hold=HOLD)
    play.engines[0].slow_to_accept = True
    (client,) = ask(play)
    for _ in range(4):
        play.replicas[0].set_state(ReplicaState.RESTARTING)
        play.engines[0].refuses()
        await play.turn()
        clock.now += 9.0
        play.replicas[0].set_state(ReplicaState.READY)
        await play.turn()
    play.engines[0].refuses()
    assert answer(client) == (502, "upstream_failed")
    assert set(play.held()) == {0}


async def test_a_lost_request_without_a_place_in_the_queue_is_told_what_happened() -> None:
    play = Playbook(hold=HOLD, max_queue=0)
    (client,) = ask(play)
    play.replicas[0].set_state(ReplicaState.RESTARTING)
    play.engines[0].line.closes()
    await play.turn()
    assert answer(client) == (502, "upstream_failed")
    assert set(play.held()) == {0}
