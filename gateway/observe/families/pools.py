"""What pools have to do now, once for each pool."""

from __future__ import annotations

from gateway.observe.families.row import MODEL, Row, per_pool
from gateway.observe.text_format import Kind

POOLS = (
    Row(
        Kind.GAUGE,
        "requests_running",
        "Requests admitted and not completed.",
        MODEL,
        per_pool(lambda _, load: load.running),
    ),
    Row(
        Kind.GAUGE,
        "requests_waiting",
        "Requests in the queue.",
        MODEL,
        per_pool(lambda _, load: load.waiting),
    ),
    Row(
        Kind.GAUGE,
        "demand",
        "Requests running and waiting: what a scaler that reads one series divides by its target.",
        MODEL,
        per_pool(lambda _, load: load.running + load.waiting),
    ),
    Row(
        Kind.GAUGE,
        "oldest_waiting_seconds",
        "How long the request at the head of the queue has waited.",
        MODEL,
        per_pool(lambda _, load: load.oldest_wait),
    ),
    Row(
        Kind.GAUGE,
        "tokens_in_flight",
        "Most output tokens that the running requests may produce.",
        MODEL,
        per_pool(lambda _, load: load.tokens),
    ),
    Row(
        Kind.GAUGE,
        "pool_saturation",
        "Requests running as a share of the limit; 0 without a limit.",
        MODEL,
        per_pool(lambda pool, load: load.saturation(pool.admission.limit)),
    ),
)
"""The families, in the order in which they are written."""
