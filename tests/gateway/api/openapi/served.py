"""The document of all routes, as the gateway serves it."""

from __future__ import annotations

from typing import Any

from gateway.api.openapi.document import document
from gateway.api.routes import served_routes


def described() -> dict[str, Any]:
    return document(served_routes(), "1.2.3")
