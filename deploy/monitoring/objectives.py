"""The service level objectives that dashboards and alerts measure against; change them here and generate again."""

AVAILABILITY = 0.999
"""The share of requests that must not end in a 5xx, over 30 days."""

TTFT_SECONDS = 2.0
"""The longest good time to first token; one of the bounds of ``headgate_time_to_first_token_seconds``."""

TPOT_SECONDS = 0.1
"""The longest good time per output token; one of the bounds of ``headgate_time_per_output_token_seconds``."""

LATENCY_SHARE = 0.95
"""The share of streams whose TTFT, and whose TPOT, must be good."""
