"""What the gateway itself costs, and whether it is well."""

from __future__ import annotations

from deploy.monitoring.dashboard import Dashboard, Row
from deploy.monitoring.panels import Column, Heatmap, Limits, Lines, Number, Query, Switches, Table
from deploy.monitoring.promql import GATEWAY, MODEL, PROCESS, highest, quantile, rate, series, share, total

OVERHEAD = "headgate_overhead_seconds"
LAG = "headgate_event_loop_lag_seconds"
REQUESTS = rate(series("headgate_requests_total", GATEWAY))

HEALTH = Row(
    "Health",
    [
        Number(
            title="Up",
            description="Gateways that Prometheus could scrape, and all that it knows.",
            unit="short",
            queries=[
                Query('sum(up{job="headgate", instance=~"$instance"})', "up"),
                Query('count(up{job="headgate", instance=~"$instance"})', "all"),
            ],
        ),
        Number(
            title="Up since",
            description="How long the youngest of the gateways has run.",
            unit="s",
            queries=[Query(f"time() - max({series('process_start_time_seconds', PROCESS)})")],
        ),
        Number(
            title="Configuration taken over",
            description="Gateways whose latest reload was refused: their old configuration is in force as a whole.",
            unit="short",
            queries=[Query(total(f"{series('headgate_config_last_reload_successful', GATEWAY)} == bool 0"), "refused")],
            limits=Limits(1, 1),
        ),
        Number(
            title="Overhead p99",
            description="The gateway's own time for a request, without queue and engine.",
            unit="s",
            queries=[Query(quantile(0.99, OVERHEAD, GATEWAY))],
            limits=Limits(0.01, 0.05),
        ),
        Number(
            title="Event loop lag p99",
            description="How late the data plane is for its own clock. Above 50 ms, every event of every stream is "
            "late.",
            unit="s",
            queries=[Query(quantile(0.99, LAG, GATEWAY))],
            limits=Limits(0.02, 0.05),
        ),
        Number(
            title="Files open",
            description="Open files and sockets as a share of how many there may be, at the worst gateway.",
            unit="percentunit",
            queries=[
                Query(f"max({series('process_open_fds', PROCESS)} / {series('process_max_fds', PROCESS)})"),
            ],
            limits=Limits(0.6, 0.8),
        ),
        Table.of(
            title="Versions",
            description="What runs where.",
            width=6,
            height=4,
            columns=[
                Column(title="Gateway", label="instance"),
                Column(title="Version", label="version"),
                Column(title="Commit", label="commit"),
                Column(
                    title="Processes that say so",
                    expression=total(series("headgate_build_info", GATEWAY), "instance", "version", "commit"),
                ),
            ],
        ),
    ],
)

COST = Row(
    "What the gateway adds",
    [
        Lines(
            title="Overhead",
            description="The gateway's own time for a request: parsing, a guard's check, opening a connection to an "
            "engine. Queue, engine and the relaying of events after the first are not in it.",
            unit="s",
            queries=[Query(quantile(q, OVERHEAD, MODEL), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)],
        ),
        Heatmap(
            title="Overhead, distribution",
            description="How many requests had which overhead.",
            unit="s",
            queries=[
                Query(total(f"increase({series(f'{OVERHEAD}_bucket', MODEL)}[$__rate_interval])", "le"), "{{le}}")
            ],
        ),
        Lines(
            title="Overhead by model, p95",
            description="A model that stands out has a guard, or an engine whose connections are slow to open.",
            unit="s",
            queries=[Query(quantile(0.95, OVERHEAD, MODEL, "model"), "{{model}}")],
        ),
        Lines(
            title="Event loop lag",
            description="How late the data plane was for its own clock, ten times a second.",
            unit="s",
            queries=[Query(quantile(q, LAG, GATEWAY), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)],
        ),
        Lines(
            title="Event loop lag by gateway, p99",
            description="With several processes, one that is stuck is a share of all.",
            unit="s",
            queries=[Query(quantile(0.99, LAG, GATEWAY, "instance"), "{{instance}}")],
        ),
        Lines(
            title="Processor time of a request",
            description="Processor seconds by requests. With several processes it is too little: only the first one's "
            "time is known.",
            unit="s",
            queries=[
                Query(
                    share(
                        total(rate(series("process_cpu_seconds_total", PROCESS)), "instance"),
                        total(REQUESTS, "instance"),
                    ),
                    "{{instance}}",
                )
            ],
        ),
    ],
)

RESOURCES = Row(
    "Resources",
    [
        Lines(
            title="Requests by gateway",
            description="How evenly clients are spread over the gateways.",
            unit="reqps",
            queries=[Query(total(REQUESTS, "instance"), "{{instance}}")],
        ),
        Lines(
            title="Cores in use",
            description="Processor time of the gateway's process: near 1 the data plane is full. With several "
            "processes, only of the first, which answers no requests.",
            unit="short",
            queries=[
                Query(total(rate(series("process_cpu_seconds_total", PROCESS)), "instance"), "{{instance}}"),
            ],
            limits=Limits(0.8, 0.95),
        ),
        Lines(
            title="Memory",
            description="Resident memory of the gateway's process; engines are processes of their own.",
            unit="bytes",
            queries=[Query(total(series("process_resident_memory_bytes", PROCESS), "instance"), "{{instance}}")],
        ),
        Lines(
            title="Connections of clients",
            description="Open ones, with those that are being refused.",
            unit="short",
            queries=[Query(total(series("headgate_client_connections", GATEWAY), "instance"), "{{instance}}")],
        ),
        Lines(
            title="Request bodies in memory",
            description="Bytes of bodies that arrive, wait or are being answered, as they came; compare with "
            "max_total_body_bytes.",
            unit="bytes",
            queries=[Query(total(series("headgate_request_body_bytes", GATEWAY), "instance"), "{{instance}}")],
        ),
        Lines(
            title="Refused by a limit of the gateway",
            description="Connections and requests a second that a limit of the gateway itself has refused.",
            unit="reqps",
            queries=[Query(total(rate(series("headgate_limit_refusals_total", GATEWAY)), "limit"), "{{limit}}")],
        ),
        Lines(
            title="Open files and sockets",
            description="Connections of clients and to engines are most of them.",
            unit="short",
            queries=[Query(total(series("process_open_fds", PROCESS), "instance"), "{{instance}}")],
        ),
        Lines(
            title="Files of clients",
            description="Bytes a second that clients upload and download through /v1/files.",
            unit="Bps",
            queries=[Query(total(rate(series("headgate_file_bytes_total", GATEWAY)), "direction"), "{{direction}}")],
        ),
        Lines(
            title="Files expired",
            description="Files a second that were removed because their time was over.",
            unit="short",
            queries=[Query(total(rate(series("headgate_files_expired_total", GATEWAY)), "instance"), "{{instance}}")],
        ),
        Lines(
            title="Batches under way",
            description="Batches that have not ended, by their status.",
            unit="short",
            queries=[Query(total(series("headgate_batches", GATEWAY), "status"), "{{status}}")],
        ),
        Lines(
            title="Batches ended",
            description="Batches a second that have ended, by how.",
            unit="short",
            queries=[Query(total(rate(series("headgate_batches_ended_total", GATEWAY)), "status"), "{{status}}")],
        ),
        Lines(
            title="Lines of batches",
            description="Lines a second by what became of them. Those that were retried found something full or "
            "failing, those that have yielded made room for interactive requests; both are asked again.",
            unit="reqps",
            queries=[Query(total(rate(series("headgate_batch_lines_total", GATEWAY)), "outcome"), "{{outcome}}")],
        ),
        Lines(
            title="Lines of batches in flight",
            description="Lines that are being asked. Compare with max_concurrency, which holds for each model.",
            unit="short",
            queries=[Query(total(series("headgate_batch_lines_in_flight", GATEWAY), "instance"), "{{instance}}")],
        ),
        Lines(
            title="Fine-tuning jobs under way",
            description="Fine-tuning jobs that have not ended, by their status.",
            unit="short",
            queries=[Query(total(series("headgate_fine_tuning_jobs", GATEWAY), "status"), "{{status}}")],
        ),
        Lines(
            title="Fine-tuning jobs ended",
            description="Fine-tuning jobs that have ended, by how. One whose examples were refused has failed.",
            unit="short",
            queries=[
                Query(
                    total(
                        f"increase({series('headgate_fine_tuning_jobs_ended_total', GATEWAY)}[$__rate_interval])",
                        "status",
                    ),
                    "{{status}}",
                )
            ],
        ),
        Lines(
            title="Counts corrected",
            description="Counts of what is held (slots, requests in flight) that were wrong and have been corrected: a "
            "mistake of the gateway's own, which its log names.",
            unit="short",
            queries=[
                Query(
                    total(f"increase({series('headgate_lease_mismatch_total', GATEWAY)}[$__rate_interval])", "lease"),
                    "{{lease}}",
                )
            ],
        ),
        Switches(
            title="Limits shared with other nodes",
            description="Whether each gateway shares the limits of keys through Redis, where it is to. Meanwhile each "
            "node counts by itself.",
            unit="short",
            words=("alone", "shared"),
            queries=[Query(highest(series("headgate_limits_shared", GATEWAY), "instance"), "{{instance}}")],
        ),
        Switches(
            title="Ray cluster",
            description="Whether the head of the Ray cluster answers each gateway that has one. While it does not, "
            "replicas go on serving, and none is started, stopped or replaced.",
            unit="short",
            words=("silent", "answers"),
            queries=[Query(highest(series("headgate_ray_up", GATEWAY), "instance"), "{{instance}}")],
        ),
        Lines(
            title="Lines lost of the access log",
            description="Lines a second that were not written, because their target was full or too slow.",
            unit="short",
            queries=[
                Query(total(rate(series("headgate_access_log_lost_lines_total", GATEWAY)), "instance"), "{{instance}}")
            ],
        ),
        Lines(
            title="Spans of traces",
            description="Spans a second that were exported, and dropped because the receiver did not take them in "
            "time.",
            unit="short",
            queries=[Query(total(rate(series("headgate_trace_spans_total", GATEWAY)), "outcome"), "{{outcome}}")],
        ),
        Lines(
            title="Scrapes",
            description="How long Prometheus waits for the metrics of gateways, and of their engines through them.",
            unit="s",
            queries=[Query(series("scrape_duration_seconds", GATEWAY), "{{instance}} {{job}}")],
        ),
        Lines(
            title="Series",
            description="How many series a scrape brings: models times replicas times outcomes.",
            unit="short",
            queries=[Query(series("scrape_samples_scraped", GATEWAY), "{{instance}} {{job}}")],
        ),
    ],
)

GATEWAY_ITSELF = Dashboard(
    "headgate-gateway",
    "Headgate / The gateway itself",
    "What the gateway itself costs, and whether it is well.",
    [HEALTH, COST, RESOURCES],
)
