"""What ``[gateway]`` may say."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.config.load import load
from tests.gateway.config.mistakes import DIGEST, REMOTE, Write, mistakes


@pytest.mark.parametrize("address", ["", "8000", ":8000", "a:", "a:b", "a:65536", "a:-1", "a:²"])
def test_what_is_no_address_to_listen_on(write: Write, address: str) -> None:
    (line,) = mistakes(write(f'[gateway]\nlisten = "{address}"\n{REMOTE}'))
    assert line.startswith("models.toml:2: gateway.listen: expected HOST:PORT")


def test_certificate_and_key_belong_together(write: Write) -> None:
    assert mistakes(write(f'[gateway]\ntls_key = "key.pem"\n{REMOTE}')) == [
        "models.toml:1: gateway: tls_certificate and tls_key belong together; give both or none"
    ]


@pytest.mark.parametrize("origin", ["*", "chat.example.com", "https://a/path", "https://*.a", "null"])
def test_origins_are_explicit(write: Write, origin: str) -> None:
    (line,) = mistakes(write(f'[gateway]\ncors_origins = ["{origin}"]\n{REMOTE}'))
    assert f"gateway.cors_origins: {origin!r} is not an origin" in line


@pytest.mark.parametrize(
    "url",
    [
        "",
        "10.0.0.9:6379",
        "http://:s3cret@10.0.0.9",
        "redis://:s3cret@",
        "redis://:s3cret@a:port",
        "redis://a/s3cret",
        "unix://s3cret",
    ],
)
def test_what_is_no_address_of_a_redis_is_not_shown(write: Write, url: str) -> None:
    (line,) = mistakes(write(f'[gateway.redis]\nurl = "{url}"\n{REMOTE}'))
    assert line.startswith("models.toml:2: gateway.redis.url: expected redis://HOST:PORT")
    assert "s3cret" not in line


@pytest.mark.parametrize(
    "url",
    ["redis://10.0.0.9", "rediss://alice:s3cret@redis.example:6380/2", "redis://[::1]:6379/", "unix:///run/r.sock"],
)
def test_an_address_of_a_redis_is_in_no_repr(write: Write, url: str) -> None:
    redis = load(write(f'[gateway.redis]\nurl = "{url}"\n{REMOTE}')).gateway.redis
    assert redis is not None
    assert (redis.url, redis.prefix, repr(redis)) == (url, "headgate", "Redis(prefix='headgate')")


def test_fast_paths_are_taken_unless_they_are_switched_off(write: Write) -> None:
    assert load(write(REMOTE)).gateway.fast_paths is True
    assert load(write(f"[gateway]\nfast_paths = false\n{REMOTE}")).gateway.fast_paths is False


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("requests_per_minute = 0", "limits.requests_per_minute: input should be greater than 0 (it is 0)"),
        (
            f"tokens_per_day = {10**20}",
            f"limits.tokens_per_day: input should be less than or equal to {10**15} (it is {10**20})",
        ),
        ('tokens_per_day = "many"', "limits.tokens_per_day: input should be a valid integer (it is 'many')"),
        ("tokens_per_hour = 1", "limits.tokens_per_hour: is not an option; did you mean 'tokens_per_day'?"),
    ],
)
def test_limits_that_are_none_are_told_with_their_line(write: Write, option: str, expected: str) -> None:
    group = f"[gateway.groups.team.limits]\n{option}\n"
    assert mistakes(write(group + REMOTE)) == [f"models.toml:2: gateway.groups.team.{expected}"]
    key = f'[[gateway.keys]]\nid = "a"\nsha256 = "{DIGEST}"\n[gateway.keys.limits]\n{option}\n'
    (line,) = mistakes(write(key + REMOTE))
    assert line.endswith(f"gateway.keys.0.{expected}")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ('expires = "soon"', "expires: expected a date, for example 2030-01-31 (it is 'soon')"),
        ("expires = 1", "expires: expected a date, for example 2030-01-31 (it is 1)"),
        ("expires = 2030-01-31T10:00:00Z", "expires: expected a date, for example 2030-01-31"),
        ("priority = 5000", "priority: input should be less than or equal to 1000 (it is 5000)"),
    ],
)
def test_restrictions_that_are_none_are_told(write: Write, option: str, expected: str) -> None:
    assert mistakes(write(f"[gateway.groups.team]\n{option}\n{REMOTE}")) == [
        f"models.toml:2: gateway.groups.team.{expected}"
    ]


def test_an_endpoint_that_is_none_is_told(write: Write) -> None:
    (line,) = mistakes(write(f'[gateway.groups.team]\nendpoints = ["/v1/chat"]\n{REMOTE}'))
    assert line.startswith("models.toml:2: gateway.groups.team.endpoints.0: input should be '/v1/chat/completions', ")


def test_a_key_has_an_expiry_a_priority_and_limits(write: Write) -> None:
    key = f'[[gateway.keys]]\nid = "a"\nsha256 = "{DIGEST}"\nexpires = 2030-01-31\npriority = -1\n'
    (found,) = load(write(f"{key}limits = {{ max_in_flight = 2 }}\n{REMOTE}")).gateway.keys
    assert (found.expires, found.priority, found.limits.max_in_flight) == (date(2030, 1, 31), -1, 2)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("max_total_body_bytes = 1000", "is 1000, and must be max_body_bytes (33554432) at least"),
        ("max_total_body_bytes = 0", "input should be greater than 0 (it is 0)"),
        ('max_total_body_bytes = "1 GiB"', "input should be a valid integer (it is '1 GiB')"),
        ("max_loop_lag = -1", "input should be greater than or equal to 0 (it is -1)"),
        ('max_loop_lag = "off"', "input should be a valid number (it is 'off')"),
    ],
)
def test_limits_of_the_gateway_itself_that_are_none(write: Write, option: str, expected: str) -> None:
    found = mistakes(write(f"[gateway.limits]\n{option}\n{REMOTE}"))
    assert any(line.startswith("models.toml:2: gateway.limits.") and expected in line for line in found), found


def test_a_body_alone_may_not_be_larger_than_all_together(write: Write) -> None:
    (line,) = mistakes(write(f"[gateway.limits]\nmax_body_bytes = {2 * 1024**3}\n{REMOTE}"))
    assert line == (
        "models.toml:2: gateway.limits.max_body_bytes: max_total_body_bytes is 1073741824, and must be max_body_bytes "
        "(2147483648) at least"
    )
