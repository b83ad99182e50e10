"""Whether the gateway takes requests, and which version it is, in vLLM's shapes."""

from __future__ import annotations

import msgspec

from gateway.api.local.route import GatewayInfo, LocalRequest, LocalResponse
from gateway.core.errors import ShuttingDown


async def health(info: GatewayInfo, _request: LocalRequest) -> LocalResponse:
    """Answer that requests are taken, with an empty body as vLLM does. Raises ``ShuttingDown`` while draining."""
    if info.draining:
        raise ShuttingDown("The gateway is shutting down.", retry_after=1.0)
    return LocalResponse(headers=b"")


async def version(info: GatewayInfo, _request: LocalRequest) -> LocalResponse:
    """Tell the gateway's version."""
    return LocalResponse(msgspec.json.encode({"version": info.version}))
