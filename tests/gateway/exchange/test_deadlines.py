"""Which deadline has passed."""

from __future__ import annotations

import pytest

from gateway.exchange.deadlines import overdue
from gateway.pools.timeouts import Timeouts

LIMITS = Timeouts(connect=1.0, first_byte=2.0, between_bytes=1.0, total=10.0)


@pytest.mark.parametrize(
    ("answering", "waited", "silence"), [(False, 10.0, 0.0), (False, 2.0, 2.0), (True, 5.0, 1.0), (False, 9.0, 1.5)]
)
def test_in_time(answering: bool, waited: float, silence: float) -> None:
    assert overdue(LIMITS, total=10.0, waited=waited, silence=silence, answering=answering) is None


@pytest.mark.parametrize(
    ("answering", "waited", "silence", "code", "message"),
    [
        (False, 10.1, 0.0, "total_timeout", "The request took longer than 10 s."),
        (False, 10.1, 9.0, "total_timeout", "The request took longer than 10 s."),
        (False, 2.1, 2.1, "first_byte_timeout", "The engine did not begin to answer within 2 s."),
        (True, 3.0, 1.1, "between_bytes_timeout", "The engine fell silent for 1 s within its response."),
    ],
)
def test_too_late(answering: bool, waited: float, silence: float, code: str, message: str) -> None:
    late = overdue(LIMITS, total=10.0, waited=waited, silence=silence, answering=answering)
    assert late is not None
    assert (late.status, late.code, late.message) == (504, code, message)
