"""The types that options of several tables share."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.config.types import Day

DAY: TypeAdapter[date] = TypeAdapter(Day)


@pytest.mark.parametrize("given", [date(2030, 1, 31), "2030-01-31"])
def test_a_day_is_a_date_of_toml_or_its_text(given: object) -> None:
    assert DAY.validate_python(given, strict=True) == date(2030, 1, 31)


@pytest.mark.parametrize("given", ["soon", "2030-02-31", "", 1, True, datetime(2030, 1, 31, tzinfo=UTC), None])
def test_anything_else_is_no_day(given: object) -> None:
    with pytest.raises(ValidationError, match="expected a date, for example 2030-01-31"):
        DAY.validate_python(given, strict=True)
