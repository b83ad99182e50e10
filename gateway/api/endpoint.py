"""A row of the table of endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from gateway.api.streams import Dialect


class Reading(Enum):
    """How an endpoint's body is written."""

    JSON = auto()
    MULTIPART = auto()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How an endpoint speaks, what a model must be able to do for it, and how its body is written."""

    dialect: Dialect
    task: str | None
    reading: Reading = Reading.JSON
