"""Memory is measured for connections and streams."""

import pytest

from loadtest.bench.memory import measure, misses, table


@pytest.mark.slow
async def test_idle_connections_and_open_streams_are_measured() -> None:
    found = await measure(idle=50, streams=5, log=lambda _what: None)
    assert found["failed"] == 0
    assert [(row["number"], row["limit"]) for row in found["rows"]] == [(50, 16_384), (50, 16_384), (5, 49_152)]
    assert all(isinstance(row["bytes_each"], int) for row in found["rows"])


def test_memory_is_judged_row_by_row() -> None:
    row = {"what": "a connection", "number": 10, "bytes_each": 20_480, "limit": 16_384}
    found = {"rows": [row, row | {"bytes_each": 1024}]}
    assert misses(found) == ["a connection: 20.0 KiB, at most 16 are allowed"]
    assert table(found).splitlines()[-1] == "| a connection | 10 | 1.0 | 16 |"
