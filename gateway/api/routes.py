"""A row of the table of endpoints."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.api.dialects.stream_reader import Dialect


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How an endpoint speaks, what a model must be able to do for it, and whether its body is a form and not JSON.

    ``streams`` says whether ``stream`` asks for events; where it does not, clients may send it all the same.
    """

    dialect: Dialect
    task: str | None
    multipart: bool = False
    streams: bool = True
