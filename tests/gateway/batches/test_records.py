"""Which completion windows there are."""

from __future__ import annotations

import pytest

from gateway.batches.records import window_seconds
from gateway.core.errors import BadRequest


@pytest.mark.parametrize(("window", "seconds"), [("24h", 86_400), ("1h", 3600), ("7d", 604_800), ("168h", 604_800)])
def test_windows_of_hours_and_days(window: str, seconds: int) -> None:
    assert window_seconds(window) == seconds


@pytest.mark.parametrize("window", ["", "24", "0h", "169h", "8d", "1m", "-1h", "1.5h", "24H", " 24h", "٢h", "9999h"])
def test_other_windows_are_refused(window: str) -> None:
    with pytest.raises(BadRequest, match="from 1h to 7d") as refused:
        window_seconds(window)
    assert refused.value.param == "completion_window"
