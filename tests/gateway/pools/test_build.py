"""Models, pools and replicas are built as the configuration says."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.models import RemoteModel
from gateway.config.schema import Config
from gateway.pools.build import POOL_OPTIONS, PoolLayout, RegistryBuilder, pools_of
from gateway.pools.discovered import Found
from gateway.pools.pool import Pool
from gateway.pools.replica import ReplicaState

DIGEST = "a" * 64


def configured(**models: dict[str, Any]) -> Config:
    return Config.model_validate({"models": models})


def test_a_remote_model_has_one_replica_for_each_address() -> None:
    config = configured(
        m={"engine": "remote", "urls": ["http://a:1", "unix:/b"], "aliases": ["n"], "upstream_model": "up"}
    )
    registry = RegistryBuilder().build(config)
    model = registry.find("m")
    assert [(each.name, each.address.url) for each in model.pool.replicas] == [
        ("m-0", "http://a:1"),
        ("m-1", "unix:/b"),
    ]
    assert registry.find("n") is model
    assert model.upstream_name == "up"


def test_the_key_of_a_remote_model_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "secret")
    config = configured(m={"engine": "remote", "urls": ["http://a"], "api_key_env": "UPSTREAM_KEY"})
    (replica,) = RegistryBuilder().build(config).find("m").pool.replicas
    assert replica.headers == b"host: a\r\nauthorization: Bearer secret\r\n"
    assert "secret" not in repr(replica)


def test_an_engine_started_here_is_no_replica_until_it_is_added() -> None:
    builder = RegistryBuilder()
    pool = builder.build(configured(m={"engine": "vllm", "source": "a/b", "replicas": 2})).find("m").pool
    assert not pool.replicas
    pool.add(builder.new_replica("m-0", "unix:/s0"))
    assert [each.address.path for each in pool.replicas] == ["/s0"]
    assert repr(pool) == "<Pool 'm' [0 ready, 1 not; 0 in flight, 0 queued]>"


def test_a_model_and_its_pool_have_what_the_configuration_says() -> None:
    waits = {"max_tokens_in_flight": 900, "queue_timeout": 7.0, "hold": 8.0}
    options = {
        "max_in_flight": 3,
        "max_queue": 5,
        "limits": waits,
        "policy": "round_robin",
        "required": False,
        "cache_salt": True,
    }
    model = RegistryBuilder().build(configured(m={"engine": "remote", "urls": ["http://a"], **options})).find("m")
    pool = model.pool
    assert (pool.admission.limit, pool.admission.max_queue) == (3, 5)
    assert (pool.waits.queue_timeout, pool.waits.hold) == (7.0, 8.0)
    assert type(pool.policy).__name__ == "RoundRobin"
    assert (model.required, model.cache_salt, model.send_priority) == (False, True, False)


def test_no_replicas_are_a_pool_all_the_same() -> None:
    config = configured(m={"engine": "vllm", "source": "a/b", "replicas": 0})
    assert RegistryBuilder().build(config).find("m").pool.replicas == ()


def test_remote_models_with_the_same_addresses_share_one_pool() -> None:
    at = {"engine": "remote", "urls": ["http://a", "http://b"], "max_in_flight": 8}
    config = configured(
        base=at,
        alone={"engine": "remote", "urls": ["http://c"]},
        adapter=at | {"upstream_model": "sql-lora", "tasks": ["generate"], "required": False, "aliases": ["sql"]},
    )
    registry = RegistryBuilder().build(config)
    base, alone, adapter = registry.models
    assert [model.name for model in registry.models] == ["base", "alone", "adapter"]
    assert base.pool is adapter.pool is registry.find("sql").pool
    assert base.pool is not alone.pool
    assert [replica.name for replica in registry.replicas] == ["base-0", "base-1", "alone-0"]
    assert (base.upstream_name, base.required) == ("base", True)
    assert (adapter.upstream_name, adapter.required, adapter.tasks) == ("sql-lora", False, frozenset({"generate"}))


@pytest.mark.parametrize(
    "other",
    [
        {"urls": ["http://a", "http://b"]},
        {"api_key_env": "UPSTREAM_KEY"},
        {"policy": "round_robin"},
        {"max_in_flight": 9},
        {"max_queue": 9},
        {"hedge": False},
        {"health_interval": 9.0},
    ],
)
def test_models_that_want_their_requests_treated_differently_have_pools_of_their_own(
    other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "secret")
    at = {"engine": "remote", "urls": ["http://a"]}
    assert len(RegistryBuilder().build(configured(m=at, n=at | other)).pools) == 2


def test_the_reference_says_which_options_models_must_agree_in_to_share_a_pool() -> None:
    described = RemoteModel.model_fields["urls"].description
    assert described is not None
    assert all(f"`{option}`" in described for option in POOL_OPTIONS)


def test_engines_that_are_started_here_are_each_their_own_pool() -> None:
    config = configured(m={"engine": "vllm", "source": "a/b"}, n={"engine": "vllm", "source": "a/b"})
    assert pools_of(config) == {"m": ["m"], "n": ["n"]}


def test_a_policy_keeps_what_it_has_learnt_until_it_is_changed_itself() -> None:
    def built(**options: Any) -> Config:
        return configured(m={"engine": "remote", "urls": ["http://a:1", "http://b:1", "http://c:1"], **options})

    builder = RegistryBuilder()
    pool = builder.build(built(policy="round_robin")).find("m").pool
    picked = [pool.policy]
    assert builder.build(built(policy="round_robin", aliases=["n"])).find("n").pool is pool
    picked.append(pool.policy)
    builder.build(built(policy="least_in_flight"))
    picked.append(pool.policy)
    assert picked[0] is picked[1]
    assert type(picked[2]).__name__ == "LeastInFlight"


def test_a_pool_whose_first_model_goes_keeps_its_policy_for_the_others() -> None:
    builder = RegistryBuilder()
    shared = {"engine": "remote", "urls": ["http://a:1", "http://b:1"], "policy": "session"}
    pool = builder.build(configured(a=shared, b=shared)).find("b").pool
    policy = pool.policy
    assert builder.build(configured(b=shared)).find("b").pool is pool
    assert pool.policy is policy


AT = {"engine": "remote", "urls": ["http://a:1", "http://b:1"]}


def test_a_pool_that_no_model_leads_to_closes_and_opens_again_if_its_model_comes_back() -> None:
    builder = RegistryBuilder()
    other = AT | {"urls": ["http://c:1"]}
    pool = builder.build(configured(m=AT, n=other)).find("m").pool
    without = builder.build(configured(n=other))
    assert (without.closing, pool.closing) == ((pool,), True)
    again = builder.build(configured(m=AT | {"max_in_flight": 7}, n=other))
    assert again.find("m").pool is pool
    assert (again.closing, pool.closing, pool.admission.limit) == ((), False, 7)


def test_pools_that_are_there_at_the_same_time_have_names_of_their_own() -> None:
    builder = RegistryBuilder()
    shared = builder.build(configured(a=AT, b=AT)).find("a").pool
    builder.build(configured(b=AT))
    registry = builder.build(configured(a=AT | {"urls": ["http://c:1"]}, b=AT))
    assert [pool.name for pool in registry.pools] == ["a.1", "a"]
    assert [each.name for each in registry.replicas] == ["a.1-0", "a-0", "a-1"]
    assert registry.find("b").pool is shared


def test_another_process_has_the_same_pools_and_replicas_by_the_same_names() -> None:
    leader, follower = RegistryBuilder(), RegistryBuilder()
    for config in (configured(a=AT, b=AT), configured(b=AT), configured(a=AT | {"urls": ["http://c:1"]}, b=AT)):
        led = leader.build(config)
        followed = follower.follow(config, leader.layout)
    for late in (followed, RegistryBuilder().follow(config, leader.layout)):
        assert [PoolLayout.of(pool) for pool in late.pools] == [PoolLayout.of(pool) for pool in led.pools]
        assert [model.pool.name for model in late.models] == [model.pool.name for model in led.models]


def test_replicas_whose_credentials_are_others_now_are_others_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "secret")
    leader, follower = RegistryBuilder(), RegistryBuilder()
    for config in (configured(a=AT), configured(a=AT | {"api_key_env": "UPSTREAM_KEY"})):
        leader.build(config)
        replicas = follower.follow(config, leader.layout).replicas
    assert all(b"Bearer secret" in each.headers for each in replicas if each.name in ("a-2", "a-3"))
    assert {"a-2", "a-3"} <= {each.name for each in replicas}


# replicas that a source has found

DISCOVER = {"engine": "remote", "discover": {"file": "/replicas.json"}}


def states(pool: Pool) -> dict[str, str]:
    """Give the state of each replica by the name of its host, with a star where it leaves."""
    return {each.address.host: f"{each.state}{'*' * each.leaving}" for each in pool.replicas}


def ready(pool: Pool, *hosts: str) -> None:
    for each in pool.replicas:
        if each.address.host in hosts:
            each.set_state(ReplicaState.READY)


class Discovering:
    """A builder with one model ``m``, whose replicas are discovered."""

    def __init__(self, **options: Any) -> None:
        self.builder = RegistryBuilder()
        self.config = configured(m=DISCOVER | options)
        self.pool = self.builder.build(self.config).find("m").pool

    def find(self, *hosts: str, spare: tuple[str, ...] | None = None) -> dict[str, str]:
        """Let the source tell these hosts, and return what follows."""
        left = None if spare is None else tuple(f"http://{host}" for host in spare)
        self.builder.set_found(self.pool, Found(tuple(f"http://{host}" for host in hosts), left))
        return states(self.pool)

    def reload(self, **options: Any) -> dict[str, str]:
        assert self.builder.build(configured(m=DISCOVER | options)).find("m").pool is self.pool
        return states(self.pool)


def test_requests_may_wait_for_replicas_that_no_source_has_told_yet() -> None:
    made = Discovering()
    assert (made.pool.replicas, made.pool.may_return) == ((), True)


def test_a_source_that_has_scaled_to_zero_starts_replicas_for_those_who_wait() -> None:
    made, follower = Discovering(hold=30.0), RegistryBuilder()

    def on_call() -> tuple[bool, bool]:
        """Tell it of this process, and of one that follows it."""
        return made.pool.on_call, follower.follow(made.config, made.builder.layout).find("m").pool.on_call

    assert on_call() == (False, False)
    made.builder.set_found(made.pool, Found((), (), at_zero=True))
    assert on_call() == (True, True)
    made.reload(hold=40.0)
    # The first pod is there and not ready; then its replica is to be probed.
    made.builder.set_found(made.pool, Found((), ()))
    assert on_call() == (True, True)
    made.find("a")
    assert on_call() == (True, True)
    ready(made.pool, "a")
    # A pod that is there and not ready any more is a fault.
    made.builder.set_found(made.pool, Found((), ()))
    made.pool.remove_drained()
    assert made.pool.replicas == ()
    assert on_call() == (False, False)


def test_without_hold_nobody_waits_at_zero() -> None:
    made = Discovering(hold=0)
    made.builder.set_found(made.pool, Found((), (), at_zero=True))
    assert not made.pool.on_call


def test_what_is_found_starts_beside_what_is_listed() -> None:
    made = Discovering(urls=["http://a"])
    assert made.find("b", "c") == {"a": "starting", "b": "starting", "c": "starting"}
    assert [each.name for each in made.pool.replicas] == ["m-0", "m-1", "m-2"]
    assert made.find("a") == {"a": "starting", "b": "starting*", "c": "starting*"}


def test_what_is_found_no_more_serves_until_another_is_ready_and_drains_then() -> None:
    made = Discovering()
    made.find("a")
    ready(made.pool, "a")
    assert made.find("b") == {"a": "ready*", "b": "starting"}
    ready(made.pool, "b")
    assert states(made.pool) == {"a": "draining*", "b": "ready"}
    made.pool.remove_drained()
    assert states(made.pool) == {"b": "ready"}


def test_what_cannot_be_asked_any_more_drains_at_once() -> None:
    made = Discovering()
    made.find("a", "b")
    ready(made.pool, "a", "b")
    assert made.find(spare=("b",)) == {"a": "draining*", "b": "ready*"}
    assert made.find(spare=()) == {"a": "draining*", "b": "draining*"}


def test_a_replica_that_returns_before_it_drains_stays_as_if_nothing_had_been() -> None:
    made = Discovering()
    made.find("a")
    ready(made.pool, "a")
    (replica,) = made.pool.replicas
    made.find("b")
    assert made.find("a", "b") == {"a": "ready", "b": "starting"}
    ready(made.pool, "b")
    assert states(made.pool) == {"a": "ready", "b": "ready"}
    assert made.pool.replicas[0] is replica


def test_a_replica_that_returns_while_it_drains_is_taken_in_anew_and_finishes_what_it_has() -> None:
    made = Discovering()
    made.find("a", "b")
    ready(made.pool, "a", "b")
    old = made.pool.replicas[0]
    old.load.entered()
    made.find("b")
    made.find("a", "b")
    assert [(each.name, each.address.host, str(each.state)) for each in made.pool.replicas] == [
        ("m-0", "a", "draining"),
        ("m-1", "b", "ready"),
        ("m-2", "a", "starting"),
    ]
    # It is asked on the same connections.
    assert made.pool.replicas[2].connections is old.connections
    made.pool.remove_drained()
    assert len(made.pool.replicas) == 3
    old.load.left()
    made.pool.remove_drained()
    assert states(made.pool) == {"b": "ready", "a": "starting"}


def test_names_are_used_again_so_that_there_are_no_more_series_than_replicas() -> None:
    made = Discovering()
    for number in range(0, 30, 2):
        made.find(f"h{number}", f"h{number + 1}")
        ready(made.pool, f"h{number}", f"h{number + 1}")
        made.pool.remove_drained()
    assert {each.name for each in made.pool.replicas} <= {"m-0", "m-1", "m-2", "m-3"}


def test_a_replica_that_was_drained_by_hand_stays_out_until_its_address_was_gone() -> None:
    made = Discovering()
    made.find("a", "b")
    ready(made.pool, "a", "b")
    made.pool.drain(made.pool.replicas[0])
    assert made.find("a", "b", "c") == {"a": "draining", "b": "ready", "c": "starting"}
    made.pool.remove_drained()
    assert made.find("a", "b") == {"b": "ready", "c": "draining*"}
    assert made.reload(max_in_flight=5)["b"] == "ready"
    assert "a" not in states(made.pool)
    made.find("b")
    assert made.find("a", "b")["a"] == "starting"


def test_a_reload_keeps_what_was_found_also_when_the_source_is_another() -> None:
    made = Discovering()
    made.find("a", "b")
    ready(made.pool, "a", "b")
    assert made.reload(max_in_flight=3) == {"a": "ready", "b": "ready"}
    assert made.reload(discover={"dns": "http://vllm:1"}) == {"a": "ready", "b": "ready"}
    assert made.pool.discovered is not None
    assert made.pool.discovered.source == "dns http://vllm:1"
    assert made.reload(discover=None, urls=["http://b"]) == {"a": "draining*", "b": "ready"}
    assert made.pool.discovered is None


def test_a_pool_that_closes_and_opens_again_has_its_replicas_again() -> None:
    made = Discovering()
    made.find("a")
    ready(made.pool, "a")
    closing = made.builder.build(configured(n={"engine": "remote", "urls": ["http://n"]}))
    closing.tick(0.0)
    assert states(made.pool) == {"a": "draining*"}
    assert made.builder.build(made.config).find("m").pool is made.pool
    assert [str(each.state) for each in made.pool.replicas] == ["draining", "starting"]


def test_another_process_follows_what_was_found() -> None:
    made, follower = Discovering(), RegistryBuilder()
    follower.follow(made.config, made.builder.layout)
    made.find("a", "b")
    followed = follower.follow(made.config, made.builder.layout).find("m").pool
    assert PoolLayout.of(followed) == PoolLayout.of(made.pool)
    assert followed.may_return
    made.pool.remove(*made.pool.replicas)
    follower.set_replicas(followed, PoolLayout.of(made.pool))
    assert (followed.replicas, followed.may_return) == ((), True)


def test_a_thousand_replicas_come_and_go_in_few_steps() -> None:
    made = Discovering()
    changes = 0

    def count(_: Pool) -> None:
        nonlocal changes
        changes += 1

    made.pool.observe(count)
    made.find(*(f"h{number}" for number in range(1000)))
    assert changes == 1
    made.find("b", spare=())
    made.pool.remove_drained()
    assert (states(made.pool), changes) == ({"b": "starting"}, 3)


def test_a_model_has_its_own_timeouts_and_a_reload_changes_them_in_the_same_pool() -> None:
    def config(gateway: float, own: dict[str, float]) -> Config:
        models = {"m": AT | {"timeouts": own}, "n": AT}
        return Config.model_validate({"gateway": {"timeouts": {"first_byte": gateway}}, "models": models})

    builder = RegistryBuilder()
    registry = builder.build(config(9.0, {"first_byte": 2.0}))
    pool = registry.find("m").pool
    assert (pool.waits.timeouts.first_byte, registry.find("n").pool.waits.timeouts.first_byte) == (2.0, 9.0)
    assert (pool.waits.short, registry.find("n").pool.waits.short) == (True, False)
    registry = builder.build(config(8.0, {"total": 7.0}))
    assert registry.find("m").pool is pool
    assert (pool.waits.timeouts.first_byte, pool.waits.timeouts.total) == (8.0, 7.0)
    assert not pool.waits.short


def test_weights_change_in_place_here_and_in_another_process() -> None:
    leader, follower = RegistryBuilder(), RegistryBuilder()
    url = AT["urls"][1]
    seen = []
    for weights in ({}, {url: 3}, {url: 0}):
        config = configured(m=AT | {"weights": weights}, n=AT)
        registries = leader.build(config), follower.follow(config, leader.layout)
        seen.append([registry.find("m").pool.replicas for registry in registries])
        for registry in registries:
            assert [each.weight for each in registry.find("m").pool.replicas] == [1, weights.get(url, 1)]
            assert (registry.find("m").pool is registry.find("n").pool) is (not weights)
    assert seen[0] == seen[1] == seen[2]


def test_a_replica_that_was_placed_anew_is_asked_there_by_all_processes() -> None:
    config = configured(m={"engine": "vllm", "source": "a/b"})
    leader, follower = RegistryBuilder(), RegistryBuilder()
    registry = leader.build(config)
    pool = registry.find("m").pool
    pool.add(leader.new_replica("m-ray0", "http://ray.invalid"))
    followed = follower.follow(config, leader.layout).find("m").pool
    (replica,) = pool.replicas
    seen: list[PoolLayout] = []
    pool.observe(lambda pool: seen.append(PoolLayout.of(pool)))
    leader.move_replica(pool, replica, "http://10.0.0.5:20001", "s3cret")
    assert seen == [PoolLayout("m", (("m-ray0", "http://10.0.0.5:20001", "s3cret"),))]
    # The connections of its old address are let go.
    assert registry.connection_pools == (replica.connections,)
    follower.set_replicas(followed, seen[-1])
    for each in (replica, *followed.replicas):
        assert each.connections.address.url == each.address.url == "http://10.0.0.5:20001"
        assert each.headers == b"host: 10.0.0.5:20001\r\nauthorization: Bearer s3cret\r\n"
        assert "s3cret" not in repr(each)
    before = followed.replicas
    follower.set_replicas(followed, seen[-1])
    assert followed.replicas == before


def test_of_the_engines_only_vllm_is_known_to_explain_nothing() -> None:
    models: dict[str, dict[str, Any]] = {
        "a": {"engine": "vllm", "source": "a/b", "adapters": {"lora": "./lora"}},
        "b": {"engine": "onnx", "source": "./b", "tasks": ["classify"]},
        "c": {"engine": "remote", "urls": ["http://c"]},
    }
    registry = RegistryBuilder().build(configured(**models))
    assert {model.name: model.explains for model in registry.models} == {
        "a": False,
        "lora": False,
        "b": True,
        "c": True,
    }
