"""All dashboards, and the metrics that are on none of them."""

from __future__ import annotations

from deploy.monitoring.dashboards.gateway import GATEWAY_ITSELF
from deploy.monitoring.dashboards.overview import OVERVIEW
from deploy.monitoring.dashboards.scaling import SCALING

DASHBOARDS = (OVERVIEW, SCALING, GATEWAY_ITSELF)

ON_NO_PANEL = {
    "headgate_slo_seconds": "the configuration says it, and it does not change",
    "process_virtual_memory_bytes": "addresses reserved are no memory in use, and nothing follows from them",
}
"""Metrics of the gateway that no panel and no alert shows, each with the reason."""
