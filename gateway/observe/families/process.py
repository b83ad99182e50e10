"""The gateway itself: its connections, its files, its event loop, and what it is."""

from __future__ import annotations

from gateway.observe.families.row import Row, Scrape
from gateway.observe.text_format import Kind, Samples


def _file_bytes(scrape: Scrape) -> Samples:
    files = scrape.counters.files
    return [(("received",), files.received_bytes), (("sent",), files.sent_bytes)]


PROCESS = (
    Row(
        Kind.COUNTER,
        "file_bytes",
        "Bytes of files received from clients and sent to them.",
        ("direction",),
        _file_bytes,
    ),
    Row(
        Kind.COUNTER,
        "files_expired",
        "Files removed because their time was over.",
        (),
        lambda scrape: [((), scrape.counters.files.expired)],
    ),
    Row(
        Kind.GAUGE,
        "client_connections",
        "Connections of clients that are open.",
        (),
        lambda scrape: [((), scrape.counters.wire.connections)],
    ),
    Row(
        Kind.COUNTER,
        "access_log_lost_lines",
        "Lines of the access log that were not written, because its target was full or too slow.",
        (),
        lambda scrape: [((), scrape.counters.lost_log_lines)],
    ),
    Row(
        Kind.COUNTER,
        "trace_spans",
        "Spans of sampled requests: exported, or dropped because the receiver did not take them in time.",
        ("outcome",),
        lambda scrape: [((outcome,), number) for outcome, number in sorted(scrape.counters.spans.items())],
    ),
    Row(
        Kind.GAUGE,
        "request_body_bytes",
        "Bytes of request bodies held, of requests that arrive, wait or are being answered.",
        (),
        lambda scrape: [((), scrape.counters.wire.body_bytes)],
    ),
    Row(
        Kind.COUNTER,
        "limit_refusals",
        "Connections and requests refused by a limit of the gateway itself.",
        ("limit",),
        lambda scrape: (((limit,), number) for limit, number in sorted(scrape.counters.wire.refused.items())),
    ),
    Row(
        Kind.HISTOGRAM,
        "event_loop_lag_seconds",
        "How late the data plane's event loop was for its own tick.",
        (),
        lambda scrape: [((), scrape.counters.lag)],
    ),
    Row(
        Kind.COUNTER,
        "lease_mismatch",
        "Counts that differed from what requests held, and were corrected, by what they count; always 0 but for a bug.",
        ("lease",),
        lambda scrape: (((lease,), number) for lease, number in scrape.counters.lease_mismatches.items()),
    ),
    Row(
        Kind.GAUGE,
        "config_last_reload_successful",
        "Whether the latest reload of the configuration succeeded; 1 before the first.",
        (),
        lambda scrape: [((), float(scrape.reloaded))],
    ),
    Row(
        Kind.GAUGE,
        "limits_shared",
        "Whether limits are shared with other nodes through Redis at this moment; only where one is configured.",
        (),
        lambda scrape: [] if scrape.limits_shared is None else [((), float(scrape.limits_shared))],
    ),
    Row(
        Kind.GAUGE,
        "ray_up",
        "Whether the head of the Ray cluster answered when it was asked last; only where one is configured.",
        (),
        lambda scrape: [] if scrape.ray_up is None else [((), float(scrape.ray_up))],
    ),
    Row(
        Kind.GAUGE,
        "build_info",
        "Version and commit; always 1.",
        ("version", "commit"),
        lambda scrape: [(scrape.build, 1.0)],
    ),
)
"""The families, in the order in which they are written."""
