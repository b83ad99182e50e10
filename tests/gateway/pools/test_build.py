"""Replicas come from the addresses of the configuration, or from the engines that are started here."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.schema import Config
from gateway.pools.build import registry_of

DIGEST = "a" * 64


def configured(**models: dict[str, Any]) -> Config:
    return Config.model_validate({"models": models})


def test_a_remote_model_has_one_replica_for_each_address() -> None:
    config = configured(
        m={"engine": "remote", "urls": ["http://a:1", "unix:/b"], "aliases": ["n"], "upstream_model": "up"}
    )
    registry = registry_of(config, {})
    pool = registry.find("m")
    assert [(each.name, each.address.url) for each in pool.replicas] == [("m-0", "http://a:1"), ("m-1", "unix:/b")]
    assert registry.find("n") is pool
    assert pool.upstream_model == "up"


def test_the_key_of_a_remote_model_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "secret")
    config = configured(m={"engine": "remote", "urls": ["http://a"], "api_key_env": "UPSTREAM_KEY"})
    (replica,) = registry_of(config, {}).find("m").replicas
    assert replica.headers == b"host: a\r\nauthorization: Bearer secret\r\n"
    assert "secret" not in repr(replica)


def test_an_engine_started_here_is_found_where_the_supervisor_put_it() -> None:
    config = configured(m={"engine": "vllm", "source": "a/b", "replicas": 2})
    pool = registry_of(config, {"m-0": "unix:/s0", "m-1": "unix:/s1"}).find("m")
    assert [each.address.path for each in pool.replicas] == ["/s0", "/s1"]
    assert repr(pool) == "<Pool 'm' [0 ready, 2 not; 0 in flight, 0 queued]>"


def test_a_pool_has_what_the_configuration_says() -> None:
    options = {"max_in_flight": 3, "max_queue": 5, "policy": "round_robin", "required": False, "cache_salt": True}
    pool = registry_of(configured(m={"engine": "remote", "urls": ["http://a"], **options}), {}).find("m")
    assert (pool.admission.limit, pool.admission.max_queue) == (3, 5)
    assert type(pool.policy).__name__ == "RoundRobin"
    assert (pool.required, pool.cache_salt, pool.send_priority) == (False, True, False)


def test_no_replicas_are_a_pool_all_the_same() -> None:
    config = configured(m={"engine": "vllm", "source": "a/b", "replicas": 0})
    assert registry_of(config, {}).find("m").replicas == ()
