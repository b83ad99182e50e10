"""What is started on a core stays there."""

import os
import subprocess
import sys

import pytest

from loadtest.bench.cpu_affinity import load_and_gateway_cpus, pinned_to


def test_load_and_gateway_have_a_core_each_where_there_are_two() -> None:
    load, gateway = load_and_gateway_cpus()
    assert len(load) == len(gateway) == 1
    assert (load != gateway) == (len(os.sched_getaffinity(0)) > 1)


def test_running_on_one_of_them_changes_nothing_about_which_they_are() -> None:
    before = load_and_gateway_cpus()
    with pinned_to(before[0]):
        assert load_and_gateway_cpus() == before


@pytest.mark.slow
def test_what_is_started_meanwhile_stays_there_and_this_process_comes_back() -> None:
    before = os.sched_getaffinity(0)
    wanted = frozenset([max(before)])
    with pinned_to(wanted):
        said = subprocess.run(
            [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"],
            capture_output=True,
            text=True,
            check=True,
        )
    assert said.stdout.strip() == str(set(wanted))
    assert os.sched_getaffinity(0) == before
