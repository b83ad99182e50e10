"""Models, pools and replicas are built as the configuration says."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.models import RemoteModel
from gateway.config.schema import Config
from gateway.pools.build import POOL_OPTIONS, PoolLayout, RegistryBuilder, pools_of

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
    assert (pool.queue_timeout, pool.hold) == (7.0, 8.0)
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
