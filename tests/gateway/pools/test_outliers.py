"""The one replica whose responses begin far later than its peers' is found, and no other."""

from __future__ import annotations

from math import inf

import pytest

from gateway.pools.outliers import LatencyOutliers, Outlier
from gateway.pools.replica import Replica, ReplicaState
from tests.gateway.pools.made import replica


def look(
    *latencies: list[float], outliers: LatencyOutliers | None = None, now: float = 3.0
) -> tuple[Outlier | None, list[Replica]]:
    """Let a window end in which replicas began to respond after so many seconds."""
    replicas = [replica(str(number)) for number in range(len(latencies))]
    for each, its in zip(replicas, latencies, strict=True):
        each.latencies.extend(its)
    return (outliers or LatencyOutliers(5.0, 0.0)).look(replicas, now), replicas


def test_a_replica_that_is_far_slower_than_its_peers_is_one() -> None:
    outlier, replicas = look([0.2] * 9, [0.3] * 9, [0.4] * 9, [0.2, 2.0, 2.1, 2.2, 9.0])
    assert outlier is not None
    assert outlier.replica is replicas[3]
    assert outlier.reason == "Its responses began after 2.1 s, those of its peers after 0.3 s (medians)."
    assert [each.latencies for each in replicas] == [[]] * 4


@pytest.mark.parametrize(
    "latencies",
    [
        [[0.2] * 9, [0.2] * 9, [1.1] * 9],
        [[2.0] * 9, [2.0] * 9, [9.9] * 9],
        [[0.2] * 9, [0.2] * 9, [9.0] * 4],
        [[0.2] * 9, [9.0] * 9],
        [[0.2] * 9, [0.2] * 4, [9.0] * 9],
        [[0.2] * 9, [0.2] * 9, [0.2] * 5 + [9.0] * 4],
        [[7.0] * 9, [9.0] * 9, [8.0] * 9],
        [],
    ],
    ids=["by less", "not as many times", "few samples", "one peer", "few samples of a peer", "a few", "all", "none"],
)
def test_otherwise_there_is_none(latencies: list[list[float]]) -> None:
    assert look(*latencies)[0] is None


def test_few_requests_are_kept_for_the_next_windows_and_then_forgotten() -> None:
    outliers, replicas = LatencyOutliers(5.0, 0.0), [replica(str(number)) for number in range(3)]
    counted = []
    for window in range(1, 9):
        replicas[0].latencies.append(9.0)
        for each in replicas[1:]:
            each.latencies.extend([0.2] * 9)
        assert outliers.look(replicas, 3.0 * window) is None
        counted.append(len(replicas[0].latencies))
    assert counted == [1, 2, 3, 0, 1, 2, 3, 0]
    replicas[0].latencies.extend([9.0] * 3)
    for window in (9, 10):
        for each in replicas[1:]:
            each.latencies.extend([0.2] * 9)
        found = outliers.look(replicas, 3.0 * window)
        replicas[0].latencies.extend([9.0] * 3)
    assert found is not None
    assert found.replica is replicas[0]


def test_of_two_outliers_the_slowest_comes_first() -> None:
    outlier, replicas = look([0.2] * 9, [0.2] * 9, [0.2] * 9, [5.0] * 9, [9.0] * 9)
    assert outlier is not None
    assert outlier.replica is replicas[4]


def test_one_that_gets_no_requests_is_not_compared() -> None:
    replicas = [replica(str(number)) for number in range(4)]
    for each, latency in zip(replicas, (0.2, 0.2, 0.2, 9.0), strict=True):
        each.latencies.extend([latency] * 9)
    replicas[3].set_state(ReplicaState.EJECTED)
    assert LatencyOutliers(5.0, 0.0).look(replicas, 3.0) is None


def test_nothing_is_said_before_a_window_ends() -> None:
    outlier, replicas = look([0.2] * 9, [0.2] * 9, [9.0] * 9, now=2.9)
    assert outlier is None
    assert len(replicas[0].latencies) == 9


def test_what_is_slow_follows_from_what_is_usual_as_long_as_that_is_known() -> None:
    outliers = LatencyOutliers(5.0, 0.0)
    assert outliers.slow_after == inf
    look([0.5] * 9, [0.5] * 9, [9.0] * 9, outliers=outliers)
    assert repr(outliers) == "<LatencyOutliers [slow after 2.5 s]>"
    for window in range(2, 21):
        look([9.0], outliers=outliers, now=3.0 * window)
    assert outliers.slow_after == 2.5
    look([9.0], outliers=outliers, now=63.0)
    assert outliers.slow_after == inf
