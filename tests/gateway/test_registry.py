"""A model's name leads to its pool, and a pool knows which of its replicas may be asked."""

from __future__ import annotations

import pytest

from gateway.admission import Admission
from gateway.errors import ModelNotFound, NoReadyReplica
from gateway.http.client import Address, ConnectionPool
from gateway.policies import RoundRobin
from gateway.registry import Load, Pool, Registry, Replica
from tests.kit.waiters import Waiter


def replica(name: str, *, ready: bool = True) -> Replica:
    return Replica(name, ConnectionPool(Address.parse(f"unix:/run/{name}.sock"), connect_timeout=1.0), ready=ready)


def pool(model: str, *replicas: Replica, tasks: tuple[str, ...] = ("generate",)) -> Pool:
    return Pool(model, replicas, policy=RoundRobin(), admission=Admission(8, max_queue=8), tasks=frozenset(tasks))


def test_reprs_tell_the_truth() -> None:
    busy, starting = replica("a"), replica("b", ready=False)
    busy.in_flight = 3
    made = pool("m", busy, starting)
    assert repr(busy) == "<Replica 'a' unix:/run/a.sock [ready; 3 in flight]>"
    assert repr(starting) == "<Replica 'b' unix:/run/b.sock [starting; 0 in flight]>"
    assert repr(made) == "<Pool 'm' [1 ready, 1 not; 3 in flight, 0 queued]>"
    assert repr(Registry([made])) == f"<Registry [{made!r}]>"


def test_only_ready_replicas_are_picked() -> None:
    first, second = replica("a"), replica("b", ready=False)
    made = pool("m", first, second)
    assert {made.pick().name for _ in range(4)} == {"a"}
    second.set_ready(ready=True, state="ready")
    assert {made.pick().name for _ in range(4)} == {"a", "b"}
    first.set_ready(ready=False, state="draining")
    assert {made.pick().name for _ in range(4)} == {"b"}


def test_what_was_tried_is_not_picked_again() -> None:
    first, second = replica("a"), replica("b")
    made = pool("m", first, second)
    assert made.pick((first,)) is second
    with pytest.raises(NoReadyReplica):
        made.pick((first, second))


@pytest.mark.parametrize(
    ("state", "retry_after"), [("starting", 2.0), ("fetching", 2.0), ("restarting", 2.0), ("failed", 5.0)]
)
def test_a_pool_without_ready_replicas_says_why_and_when_to_come_again(state: str, retry_after: float) -> None:
    down = replica("a")
    made = pool("m", down)
    down.set_ready(ready=False, state=state)
    with pytest.raises(NoReadyReplica, match=rf"'m' has no ready replica \({state}\)") as refused:
        made.pick()
    assert refused.value.retry_after == retry_after


def test_a_pool_may_have_no_replica_at_all() -> None:
    with pytest.raises(NoReadyReplica, match=r"\(absent\)"):
        pool("m").pick()


def test_failures_in_a_row_put_a_replica_out_until_it_is_found_ready() -> None:
    doubted = replica("a")
    made = pool("m", doubted)
    doubted.failed("refused")
    doubted.failed("refused")
    doubted.succeeded()
    doubted.failed("refused")
    doubted.failed("refused")
    assert doubted.ready
    doubted.failed("refused")
    assert (doubted.ready, doubted.state, doubted.reason, made.ready) == (False, "failing", "refused", [])
    doubted.set_ready(ready=True, state="ready")
    doubted.failed("refused")
    doubted.failed("refused")
    assert made.ready == [doubted]


def test_a_replica_tells_once_whether_requests_were_answered() -> None:
    asked = replica("a")
    assert not asked.answered()
    asked.succeeded()
    assert [asked.answered(), asked.answered()] == [True, False]


def test_a_model_is_found_by_its_name_and_by_its_alias() -> None:
    made = pool("m")
    registry = Registry([made], {"gpt-4o": "m"})
    assert registry.find("m") is registry.find("gpt-4o") is made
    assert [name for name, _ in registry.names] == ["m", "gpt-4o"]
    assert list(registry) == [made]


def test_an_unknown_model_is_told_the_known_ones() -> None:
    with pytest.raises(ModelNotFound, match=r"'x' does not exist here; the models are: m, gpt-4o\."):
        Registry([pool("m")], {"gpt-4o": "m"}).find("x")
    with pytest.raises(ModelNotFound, match=r"the models are: none\."):
        Registry([]).find("x")


def test_a_very_long_name_is_not_repeated_in_full() -> None:
    with pytest.raises(ModelNotFound) as refused:
        Registry([]).find("x" * 1_000_000)
    assert len(refused.value.message) < 400


def test_what_a_model_cannot_do_names_the_models_that_can() -> None:
    chat, embedder = pool("chat"), pool("embedder", tasks=("embed", "score"))
    registry = Registry([chat, embedder])
    refusal = registry.unable(chat, "embed", "/v1/embeddings")
    assert refusal.message == "The model 'chat' does not support /v1/embeddings; these can: embedder."
    assert (refusal.param, refusal.code) == ("model", "unsupported_endpoint")
    assert "no model here can" in registry.unable(chat, "transcribe", "/v1/audio/transcriptions").message


def test_a_pool_tells_its_load() -> None:
    made = pool("m", replica("a"))
    assert made.load(0.0) == Load(0, 0, 0.0, 0)
    made.admission.admit(Waiter())
    made.tokens_in_flight = 5
    assert made.load(0.0) == Load(1, 0, 0.0, 5)
    assert made.load(0.0).saturation(8) == 0.125
    assert made.load(0.0).saturation(None) == 0.0
