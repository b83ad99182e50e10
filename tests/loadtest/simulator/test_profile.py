"""What an engine costs and holds, as a value."""

from typing import Any

import pytest

from loadtest.simulator.profile import COSTS, PROFILES, Profile


def test_a_faster_machine_has_the_same_limits_and_smaller_costs() -> None:
    slow = PROFILES["smollm2-135m-cpu"]
    fast = slow.faster(10)
    assert all(getattr(fast, name) == pytest.approx(getattr(slow, name) / 10) for name in COSTS)
    assert (fast.max_num_seqs, fast.num_blocks) == (slow.max_num_seqs, slow.num_blocks)


def test_the_capacity_is_that_of_all_blocks() -> None:
    assert Profile(block_size=128, num_blocks=182).capacity == 23_296


@pytest.mark.parametrize("wrong", [{"step": -1.0}, {"num_blocks": 0}, {"max_num_batched_tokens": 0}])
def test_what_cannot_be_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least"):
        Profile(**wrong)
