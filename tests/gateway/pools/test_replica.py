"""A replica is out after failures in a row, and in again when it is found ready."""

from __future__ import annotations

from tests.gateway.pools.made import pool, replica


def test_failures_in_a_row_put_a_replica_out_until_it_is_found_ready() -> None:
    doubted = replica("a")
    made = pool("m", doubted)
    doubted.failed("refused")
    doubted.failed("refused")
    doubted.succeeded()
    doubted.failed("refused")
    doubted.failed("refused")
    assert doubted.ready
    doubted.failed("refused")
    assert (doubted.ready, doubted.state, doubted.reason, made.ready) == (False, "failing", "refused", [])
    doubted.set_ready(ready=True, state="ready")
    doubted.failed("refused")
    doubted.failed("refused")
    assert made.ready == [doubted]


def test_a_replica_tells_once_whether_requests_were_answered() -> None:
    asked = replica("a")
    assert not asked.answered()
    asked.succeeded()
    assert [asked.answered(), asked.answered()] == [True, False]
