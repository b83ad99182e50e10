"""What is said of keys that ask for more than they may."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from gateway.config.schema import Config
from loadtest.bench.limits import LimitedSpec, misses, table


def run(**said: Any) -> dict[str, Any]:
    figures = {"granted": 100, "least": 10, "most": 10, "beyond_a_hundredth": 0, "deviation_seconds": 0.0}
    return {"name": "one node, 1 process each", "killed": "", "broken_off": 0, **figures, **said}


def found(*runs: dict[str, Any], left_out: str = "") -> dict[str, Any]:
    return {"keys": 10, "limit": 10, "seconds": 60.0, "left_out": left_out, "failed": 0, "runs": list(runs)}


def test_each_key_has_its_limit_and_the_node_its_redis(tmp_path: Path) -> None:
    spec = LimitedSpec(keys=2, limit=7, redis="unix:///r.sock")
    written = tomllib.loads(spec.configuration("http://127.0.0.1:9", tmp_path))
    del written["gateway"]["keys_file"]
    config = Config.model_validate(written)
    assert [key.limits.requests_per_minute for key in config.gateway.keys] == [7, 7]
    assert config.gateway.redis is not None
    assert config.gateway.redis.url == "unix:///r.sock"
    assert spec.keys_file() == ""


def test_a_key_that_gets_more_or_less_is_a_miss_and_so_is_a_second_that_is_lost() -> None:
    off = run(beyond_a_hundredth=3, least=9, most=11)
    lost = run(killed="redis", beyond_a_hundredth=3, deviation_seconds=-1.2)
    fine = run(killed="process", beyond_a_hundredth=3, deviation_seconds=0.9)
    assert misses(found(run(), off, lost, fine)) == [
        "limits, one node, 1 process each: 3 keys got 9 to 11",
        "limits, one node, 1 process each, redis killed: -1.200 s of counts were lost",
    ]


def test_a_row_says_what_was_killed_and_what_keys_got() -> None:
    written = table(found(run(killed="redis", deviation_seconds=0.25), left_out="redis-server is not installed"))
    assert "| one node, 1 process each | redis | 10 to 10 | 0 | +0.250 | 0 |" in written
    assert written.endswith("Left out: two nodes (redis-server is not installed).")
