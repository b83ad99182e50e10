"""Options of a group may be written with or without it, but once, and each mistake is told where they are."""

from __future__ import annotations

import pytest

from gateway.config.load import load
from tests.gateway.config.mistakes import REMOTE, Write, mistakes


def test_limits_have_a_table_of_their_own_and_may_be_written_without_it(write: Write) -> None:
    grouped = load(write(f"{REMOTE}[models.m.limits]\nmax_in_flight = 2\nmax_queue = 3\n"))
    flat = load(write(f"{REMOTE}max_in_flight = 2\nmax_queue = 3\n"))
    mixed = load(write(f"{REMOTE}max_in_flight = 2\nlimits.max_queue = 3\n"))
    assert grouped == flat == mixed
    assert (flat.models["m"].limits.max_in_flight, flat.models["m"].limits.max_queue) == (2, 3)


def test_a_limit_is_given_once(write: Write) -> None:
    path = write(f"{REMOTE}max_queue = 3\n[models.m.limits]\nmax_queue = 3\n")
    assert mistakes(path) == [
        "models.toml:4: models.m.max_queue: is given in the table 'limits' of this model too; give it once"
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("max_queue = -1", "4: models.m.max_queue: input should be greater than or equal to 0 (it is -1)"),
        (
            "limits.max_queue = -1",
            "4: models.m.limits.max_queue: input should be greater than or equal to 0 (it is -1)",
        ),
        ("limits = 5\nmax_queue = 3", "4: models.m.limits: expected a table"),
    ],
)
def test_a_wrong_limit_is_told_where_it_is_written(write: Write, options: str, told: str) -> None:
    assert mistakes(write(f"{REMOTE}{options}\n")) == [f"models.toml:{told}"]
