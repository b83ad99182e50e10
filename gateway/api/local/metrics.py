"""What Prometheus reads, at the data port too, where vLLM has it; the control port has it always."""

from __future__ import annotations

import asyncio

from prometheus_client.exposition import choose_encoder

from gateway.api.local.route import GatewayInfo, LocalRequest, LocalResponse
from gateway.core.errors import UnknownUrl


async def expose(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Write the metrics on another thread, so that no token waits for them. Raises ``UnknownUrl`` where that is off."""
    metrics = info.metrics
    if metrics is None:
        raise UnknownUrl("Metrics are at the control port; here only with gateway.metrics_at_listen = true.")
    _, media = choose_encoder(request.head.headers.get(b"accept", b"").decode("latin-1"))
    openmetrics = media.startswith("application/openmetrics-text")
    text = await asyncio.to_thread(metrics.text, openmetrics=openmetrics)
    return LocalResponse(text, headers=b"content-type: %b\r\n" % media.encode("ascii"))
