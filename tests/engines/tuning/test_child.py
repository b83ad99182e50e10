"""All trainings get the same environment, wherever they run."""

from __future__ import annotations

from engines.tuning.child import environment_of


def test_a_training_has_its_threads_and_neither_gpus_nor_the_hub() -> None:
    given = environment_of(3)
    assert given["OMP_NUM_THREADS"] == "3"
    assert (given["CUDA_VISIBLE_DEVICES"], given["HF_HUB_OFFLINE"]) == ("", "1")
