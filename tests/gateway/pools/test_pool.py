"""A pool picks among its ready replicas, and says why there are none."""

from __future__ import annotations

import pytest

from gateway.core.errors import AdapterNotLoaded, NoReadyReplica
from gateway.pools.discovered import Discovered
from gateway.pools.ejection import Finding
from gateway.pools.policies.policy import Routable
from gateway.pools.policies.round_robin import RoundRobin
from gateway.pools.pool import Load
from gateway.pools.replica import Replica, ReplicaState
from tests.gateway.exchange.asking import CHAT, answer_to, ask, said
from tests.gateway.pools.made import Request, pool, replica
from tests.kit.eventually import eventually
from tests.kit.gateways import gateway, remote
from tests.kit.scripted import scripted_engine, whole
from tests.kit.waiters import Waiter

ANY = Request()


def test_reprs_tell_the_truth() -> None:
    busy, starting = replica("a", in_flight=3), replica("b", ready=False)
    made = pool("m", busy, starting)
    assert repr(busy) == "<Replica 'a' unix:/run/a.sock [ready; 3 in flight]>"
    assert repr(starting) == "<Replica 'b' unix:/run/b.sock [starting; 0 in flight]>"
    assert repr(made) == "<Pool 'm' [1 ready, 1 not; 3 in flight, 0 queued]>"


def test_only_ready_replicas_are_picked() -> None:
    first, second = replica("a"), replica("b", ready=False)
    made = pool("m", first, second)
    assert {made.pick(ANY).name for _ in range(4)} == {"a"}
    second.set_state(ReplicaState.READY)
    assert {made.pick(ANY).name for _ in range(4)} == {"a", "b"}
    first.set_state(ReplicaState.DRAINING)
    assert {made.pick(ANY).name for _ in range(4)} == {"b"}


def test_what_was_tried_is_not_picked_again() -> None:
    first, second = replica("a"), replica("b")
    made = pool("m", first, second)
    assert made.pick(ANY, (first,)) is second
    with pytest.raises(NoReadyReplica):
        made.pick(ANY, (first, second))


@pytest.mark.parametrize(
    ("state", "retry_after"), [("starting", 2.0), ("fetching", 2.0), ("restarting", 2.0), ("failed", 5.0)]
)
def test_a_pool_without_ready_replicas_says_why_and_when_to_come_again(state: str, retry_after: float) -> None:
    down = replica("a")
    made = pool("m", down)
    down.set_state(ReplicaState(state))
    with pytest.raises(NoReadyReplica, match=rf"'m' has no ready replica \({state}\)") as refused:
        made.pick(ANY)
    assert refused.value.retry_after == retry_after


def test_who_is_refused_hears_that_the_engine_failed_and_only_operators_hear_why() -> None:
    down = replica("a", ready=False)
    made = pool("m", down)
    assert made.not_ready("m").message == "The model 'm' has no ready replica (starting)."
    why = "It ended with exit code 1. Its last words:\n/home/me/.token: hf_secret"
    seen = "operators see why at /status of the control port."
    for state, message in (
        (
            "restarting",
            f"The model 'm' has no ready replica (restarting). Its engine has ended and is started again; {seen}",
        ),
        (
            "starting",
            f"The model 'm' has no ready replica (starting). Its engine has ended and is started again; {seen}",
        ),
        ("failed", f"The model 'm' has no ready replica (failed). Its engine could not be started; {seen}"),
    ):
        down.set_state(ReplicaState(state), why)
        assert made.not_ready("m").message == message
    down.set_state(ReplicaState.STOPPED)
    assert made.not_ready("m").message == "The model 'm' has no ready replica (stopped)."


def test_a_pool_may_have_no_replica_at_all() -> None:
    with pytest.raises(NoReadyReplica, match=r"\(absent\)"):
        pool("m").pick(ANY)


def test_a_pool_tells_its_load() -> None:
    made = pool("m", replica("a"))
    assert made.load(0.0) == Load(0, 0, 0.0, 0)
    made.admission.admit(Waiter())
    made.tokens_in_flight = 5
    assert made.load(0.0) == Load(1, 0, 0.0, 5)
    assert made.load(0.0).saturation(8) == 0.125
    assert made.load(0.0).saturation(None) == 0.0


class Bookkeeping(RoundRobin):
    """A policy that keeps books of what is assigned to whom."""

    def __init__(self) -> None:
        super().__init__()
        self.books: list[tuple[str, str]] = []

    def replicas_changed(self, replicas: tuple[Replica, ...]) -> None:
        self.books.append(("replicas", " ".join(each.name for each in replicas)))

    def state_changed(self, replica: Replica) -> None:
        self.books.append((str(replica.state), replica.name))

    def assigned(self, replica: Replica, request: Routable) -> None:
        self.books.append(("assigned", replica.name))

    def released(self, replica: Replica, request: Routable) -> None:
        self.books.append(("released", replica.name))


def test_a_policy_that_keeps_books_hears_of_every_request_and_every_change_of_the_replicas() -> None:
    policy = Bookkeeping()
    first, second = replica("a"), replica("b")
    made = pool("m", first, policy=policy)
    assert made.pick(ANY) is first
    made.add(second)
    assert made.pick(ANY, (first,)) is second
    assert made.released is not None
    made.released(second, ANY)
    second.set_state(ReplicaState.RESTARTING)
    made.remove(first)
    assert policy.books == [
        ("replicas", "a"),
        ("assigned", "a"),
        ("replicas", "a b"),
        ("assigned", "b"),
        ("released", "b"),
        ("restarting", "b"),
        ("replicas", "b"),
    ]


def test_a_policy_that_keeps_no_books_is_not_asked_to() -> None:
    assert pool("m", replica("a")).released is None


def test_a_second_replica_may_be_asked_only_where_there_is_one() -> None:
    first, second = replica("a"), replica("b")
    made = pool("m", first, hedge=True)
    assert made.hedging is None
    made.add(second)
    assert str(made.hedging) == "<HedgeBudget [not known yet; 0.00 saved]>"
    made.remove(first)
    assert str(made.hedging) == "None"


def test_a_replica_that_drains_gets_nothing_new_and_leaves_when_its_requests_have_ended() -> None:
    leaving, staying = replica("a", in_flight=1), replica("b")
    made = pool("m", leaving, staying)
    made.drain(leaving)
    made.remove_drained()
    assert {made.pick(ANY).name for _ in range(4)} == {"b"}
    assert repr(leaving) == "<Replica 'a' unix:/run/a.sock [draining; 1 in flight]>"
    assert repr(made) == "<Pool 'm' [1 ready, 1 not; 1 in flight, 0 queued]>"
    leaving.load.left()
    made.remove_drained()
    assert repr(leaving) == "<Replica 'a' unix:/run/a.sock [stopped; 0 in flight]>"
    assert repr(made) == "<Pool 'm' [1 ready, 0 not; 0 in flight, 0 queued]>"


def test_an_observer_of_a_pool_hears_of_replicas_that_come_and_go() -> None:
    heard: list[int] = []
    made = pool("m", replica("a"))
    made.observe(lambda changed: heard.append(len(changed.replicas)))
    other = replica("b")
    made.add(other)
    made.remove(other)
    assert heard == [2, 1]


async def test_a_replica_is_drained_while_requests_run_and_finishes_those_that_it_has() -> None:
    async with (
        scripted_engine() as first,
        scripted_engine() as second,
        gateway({"m": remote(first.url, second.url, policy="round_robin")}) as running,
    ):
        await running.gateway.fleet.settle()
        (drained,) = running.gateway.plane.registry.pools
        response = whole(b"{}")
        first.answer = [response[:-1], response[-1:]]
        second.answer = [response]
        leaving, _ = drained.replicas
        # Round-robin begins with the second.
        assert (await answer_to(running, ask())).status == 200
        async with await running.wire() as wire:
            await wire.request("POST", CHAT, ask())
            await first.said_so_far()
            drained.drain(leaving)
            for _ in range(4):
                assert (await answer_to(running, ask())).status == 200
            assert len(first.bodies) == 1
            assert repr(leaving).endswith("[draining; 1 in flight]>")
            first.go_on()
            assert (await wire.response()).body == b"{}"
        await said(running, "<Pool 'm' [1 ready, 0 not;")
        await eventually(lambda: "[0 open, 0 idle]" in repr(leaving.connections))
        assert leaving.state is ReplicaState.STOPPED


@pytest.mark.parametrize(
    ("state", "hold", "is_open"),
    [
        ("starting", 30.0, False),
        ("fetching", 30.0, False),
        ("restarting", 30.0, False),
        ("failing", 30.0, False),
        ("failed", 30.0, True),
        ("stopped", 30.0, True),
        ("draining", 30.0, True),
        ("starting", 0.0, True),
        ("ready", 30.0, True),
    ],
)
def test_requests_are_held_while_no_replica_is_ready_but_one_may_be_soon(
    state: str, hold: float, is_open: bool
) -> None:
    only = replica("a")
    made = pool("m", only)
    made.set_waits(hold, None)
    only.set_state(ReplicaState(state))
    assert made.admission.open is is_open
    assert made.may_return is (state in ("starting", "fetching", "restarting", "failing", "ready"))


def test_a_replica_that_drains_is_replaced_by_one_that_starts() -> None:
    old = replica("a")
    made = pool("m", old)
    made.set_waits(30.0, None)
    made.drain(old)
    assert repr(made.admission) == "<Admission [0 running, 0 waiting; limit 8]>"
    new = replica("b", ready=False)
    made.add(new)
    assert repr(made.admission) == "<Admission [0 running, 0 waiting; limit 8; closed]>"
    new.set_state(ReplicaState.READY)
    assert made.admission.open


def test_requests_wait_where_a_replica_may_be_discovered_any_time() -> None:
    made = pool("m")
    made.set_waits(30.0, None)
    assert made.admission.open
    made.discovered = Discovered("file a")
    made.set_waits(30.0, None)
    assert not made.admission.open


def test_replicas_that_were_to_go_may_stay() -> None:
    old, other, new = replica("a"), replica("b"), replica("c", ready=False)
    made = pool("m", old, other)
    made.replace([new], [old, other])
    made.keep([old])
    new.set_state(ReplicaState.READY)
    assert [(each.name, str(each.state), each.leaving) for each in made.replicas] == [
        ("a", "ready", False),
        ("b", "draining", True),
        ("c", "ready", False),
    ]


def test_a_replica_that_has_gone_does_not_drain_once_more() -> None:
    old = replica("a")
    made = pool("m", old)
    made.replace([], [old])
    made.drain(old)
    made.remove_drained()
    made.add(replica("b"))
    assert old.state is ReplicaState.STOPPED


def test_a_wait_that_took_too_long_is_told_by_what_was_waited_for() -> None:
    only = replica("a")
    made = pool("m", only)
    made.set_waits(7.0, 4.0)
    only.set_state(ReplicaState.STARTING)
    assert repr(made.waited_too_long("m", 7.0)).startswith("<NoReadyReplica 503")
    only.set_state(ReplicaState.READY)
    assert repr(made.waited_too_long("m", 7.0)).startswith("<QueueTimeout 503")


def test_the_time_that_a_request_is_held_counts_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.pools.pool.perf_counter", lambda: 100.0)
    only = replica("a")
    made = pool("m", only)
    made.set_waits(7.0, 4.0)
    only.set_state(ReplicaState.STARTING)
    assert made.waits.until(90.0, 60.0, held=True) == 107.0


def test_where_replicas_come_on_demand_requests_wait_for_the_first() -> None:
    made = pool("m")
    made.set_waits(30.0, None)
    before = made.on_call
    made.set_on_demand(on_demand=True)
    assert (before, made.on_call) == (False, True)
    waiter = Waiter()
    assert not made.admission.admit(waiter)
    first = replica("a", ready=False)
    made.add(first)
    assert made.on_call
    first.set_state(ReplicaState.READY)
    assert waiter.slots == 1
    made.drain(first)
    made.remove_drained()
    assert made.replicas == ()
    assert made.on_call


def test_what_observes_a_pool_hears_when_replicas_begin_to_come_on_demand() -> None:
    made, heard = pool("m"), []
    made.observe(lambda changed: heard.append(changed.on_demand))
    for on_demand in (True, True, False):
        made.set_on_demand(on_demand=on_demand)
    assert heard == [True, False]


def test_a_replica_that_has_failed_for_good_is_not_waited_for() -> None:
    made = pool("m", failing := replica("a", ready=False))
    made.set_waits(30.0, None)
    made.set_on_demand(on_demand=True)
    failing.set_state(ReplicaState.FAILED)
    assert not made.on_call
    assert not made.may_return


def test_an_ejected_replica_is_picked_once_when_its_time_is_over() -> None:
    replicas = [replica(name) for name in "abc"]
    made = pool("m", *replicas)
    made.ejections.suspect("a", "errors", "It is broken.")
    replicas[0].probe_succeeded(float("inf"))
    picked = [made.pick(ANY).name for _ in range(5)]
    assert (picked[0], picked.count("a")) == ("a", 1)
    made.ejections.readmit("a")
    assert made.ready == replicas


def test_a_retry_tries_no_ejected_replica() -> None:
    replicas = [replica(name) for name in "abc"]
    made = pool("m", *replicas)
    made.ejections.suspect("a", "errors", "It is broken.")
    replicas[0].probe_succeeded(float("inf"))
    assert made.pick(ANY, (replicas[1],)) is replicas[2]


def test_where_another_decides_the_pool_only_reports() -> None:
    told: list[tuple[str, ...]] = []

    class Parent:
        def suspect(self, name: str, cause: Finding, reason: str) -> None:
            told.append((name, cause, reason))

        def readmit(self, name: str) -> None:
            told.append((name,))

    replicas = [replica(name) for name in "ab"]
    made = pool("m", *replicas)
    made.set_overseer(Parent())
    for _ in range(3):
        replicas[0].failed("refused")
    replicas[0].pass_trial()
    assert told == [("a", "failures", "refused"), ("a",)]
    assert made.ready == replicas
    for each in replicas:
        each.set_state(ReplicaState.EJECTED)
    assert made.ready == []


def test_a_request_for_an_adapter_goes_where_that_is_loaded() -> None:
    with_it, without = replica("a"), replica("b")
    with_it.set_adapters(frozenset({"sql"}))
    made = pool("m", with_it, without)
    assert {made.pick(Request(adapter="sql")).name for _ in range(4)} == {"a"}
    assert {made.pick(ANY).name for _ in range(4)} == {"a", "b"}
    assert made.able("sql") == [with_it]
    with pytest.raises(AdapterNotLoaded, match="'sql' is not loaded at any ready replica") as caught:
        made.pick(Request(adapter="sql"), (with_it,))
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "adapter_not_loaded", 2.0)


def test_without_a_ready_replica_the_adapter_is_not_what_is_missing() -> None:
    with pytest.raises(NoReadyReplica):
        pool("m", replica("a", ready=False)).pick(Request(adapter="sql"))


def test_a_replica_of_weight_0_gets_nothing_new_until_it_has_a_weight_again() -> None:
    one, other = replica("a"), replica("b")
    made = pool("m", one, other)
    one.set_weight(0)
    assert {made.pick(ANY).name for _ in range(4)} == {"b"}
    other.set_state(ReplicaState.FAILED)
    with pytest.raises(NoReadyReplica, match=r"no ready replica \(failed, ready with weight 0\)"):
        made.pick(ANY)
    assert not made.may_return
    one.set_weight(2)
    assert made.pick(ANY) is one


def test_nothing_is_kept_of_a_full_replica_that_has_gone() -> None:
    full, other = replica("a"), replica("b")
    made = pool("m", full, other)
    made.pass_over(full, 100.0, 5.0)
    assert not made.full.has_room(full, 101.0)
    made.remove(full)
    assert made.full.has_room(full, 101.0)
    # Its last response may come later.
    made.pass_over(full, 101.0, 5.0)
    assert made.full.has_room(full, 102.0)
