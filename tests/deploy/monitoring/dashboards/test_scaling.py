"""The dashboard of replicas counts each of them in exactly one of the numbers at its top, until it is gone."""

from __future__ import annotations

import re

from deploy.monitoring.dashboards.scaling import SCALING, replicas_that_are
from gateway.pools.replica import ReplicaState


def test_replicas_are_counted_by_states() -> None:
    assert replicas_that_are("ready|draining") == (
        'sum(headgate_replicas{model=~"$pool", instance=~"$instance", state=~"ready|draining"})'
    )


def test_every_state_but_the_last_is_in_one_number() -> None:
    numbers = [panel.queries[0].expression for panel in SCALING.rows[0].panels if panel.kind == "stat"]
    counted = [
        state
        for each in numbers
        for states in re.findall(r'sum\(.*state=~"(.*?)"', each)
        for state in states.split("|")
    ]
    assert sorted(counted) == sorted(set(ReplicaState) - {ReplicaState.STOPPED})
