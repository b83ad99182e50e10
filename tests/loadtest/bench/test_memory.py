"""Memory is measured for connections and streams."""

import pytest

from loadtest.bench.memory import measure


@pytest.mark.slow
async def test_idle_connections_and_open_streams_are_measured() -> None:
    found = await measure(idle=50, streams=5, tell=lambda _what: None)
    assert found["failed"] == 0
    assert [(row["number"], row["limit"]) for row in found["rows"]] == [(50, 16_384), (50, 16_384), (5, 49_152)]
    assert all(isinstance(row["bytes_each"], int) for row in found["rows"])
