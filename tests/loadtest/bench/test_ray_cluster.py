"""How the nodes of a cluster are started; ``tests/e2e/test_ray.py`` starts some."""

from __future__ import annotations

from pathlib import Path

from loadtest.bench.ray_cluster import head_command, node_command


def test_no_replica_runs_at_the_head_and_nodes_find_it() -> None:
    head = head_command(6379, 8265, 10_001, Path("/tmp/ray-a"))
    assert {"--head", "--port=6379", "--dashboard-port=8265", "--num-cpus=0", "--temp-dir=/tmp/ray-a"} <= set(head)
    node = node_command(6379, 52_365, 2)
    assert {"--address=127.0.0.1:6379", "--dashboard-agent-listen-port=52365", "--num-cpus=2"} <= set(node)
    assert "--block" in head
    assert "--block" in node
