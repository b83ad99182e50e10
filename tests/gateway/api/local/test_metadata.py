"""Metadata is held to OpenAI's limits, and the pair beyond them is named."""

from __future__ import annotations

import pytest

from gateway.api.local.metadata import check_metadata
from gateway.core.errors import BadRequest


def test_metadata_within_the_limits_is_taken() -> None:
    check_metadata(None)
    check_metadata({f"{number:064}": "v" * 512 for number in range(16)})


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({str(number): "" for number in range(17)}, "has 17 pairs; at most 16"),
        ({"k" * 65: "v"}, rf"metadata\['{'k' * 64}'\] is too long"),
        ({"good": "v", "team": "v" * 513}, r"metadata\['team'\] is too long"),
    ],
    ids=["many", "name", "value"],
)
def test_metadata_beyond_the_limits_is_refused(metadata: dict[str, str], reason: str) -> None:
    with pytest.raises(BadRequest, match=reason) as refused:
        check_metadata(metadata)
    assert refused.value.param == "metadata"
