"""Whether there are as many replicas as are needed, and what each of them is doing."""

from __future__ import annotations

from deploy.monitoring.dashboard import Dashboard, Row
from deploy.monitoring.panels import Column, Lines, Number, Query, Switches, Table
from deploy.monitoring.promql import GATEWAY, MODEL, POOL, highest, quantile, rate, series, share, total

DEMAND = total(series("headgate_demand", POOL), "model")
WAITING = total(series("headgate_requests_waiting", POOL), "model")
READY = total(series("headgate_replicas", POOL, 'state="ready"'), "model")

IN_FLIGHT = total(series("headgate_replica_in_flight", POOL), "model", "replica")
IS_READY = highest(series("headgate_replica_ready", POOL), "model", "replica")
WAS_READY = series("headgate_replica_ready", POOL) + "[$__range]"
AT_READY = f"{IN_FLIGHT} and {IS_READY} == 1"

ENGINES = 'model=~"$pool", instance=~"$instance"'
"""Engines' own metrics are relayed with the pool's name as ``model``."""


def replicas_that_are(states: str) -> str:
    """Count replicas in any of these states."""
    return total(series("headgate_replicas", POOL, f'state=~"{states}"'))


SUPPLY = Row(
    "Demand and supply",
    [
        Number(
            title="Demand",
            description="Requests running and waiting.",
            unit="short",
            queries=[Query(total(DEMAND))],
        ),
        Number(
            title="Ready",
            description="Replicas that get requests.",
            unit="short",
            queries=[Query(replicas_that_are("ready"))],
        ),
        Number(
            title="Coming",
            description="Replicas that wait for room on a cluster, whose files are fetched, that start, or that start "
            "again after a crash.",
            unit="short",
            queries=[Query(replicas_that_are("pending|fetching|starting|restarting"))],
        ),
        Number(
            title="Leaving or asleep",
            description="Replicas that get nothing new and finish what they have, and those that sleep until they are "
            "needed.",
            unit="short",
            queries=[Query(replicas_that_are("draining|asleep"))],
        ),
        Number(
            title="Not usable",
            description="Replicas that fail requests or probes, were ejected and are tried again, or have failed for "
            "good.",
            unit="short",
            queries=[Query(replicas_that_are("failing|ejected|half_open|failed"))],
        ),
        Number(
            title="Held without a replica",
            description="Requests that wait in pools without any ready replica: at zero replicas, these are the cold "
            "starts' victims.",
            unit="short",
            queries=[Query(total(f"{WAITING} * on (model) ({READY} == bool 0)"))],
        ),
        Number(
            title="Held, in a second",
            description="Requests that were queued because no replica was ready.",
            unit="reqps",
            queries=[Query(total(rate(series("headgate_admissions_total", MODEL, 'outcome="held"'))))],
        ),
        Number(
            title="Replica-hours",
            description="Ready replicas times hours, over the time that is shown: what was paid for.",
            unit="short",
            decimals=1,
            queries=[Query(total(f"sum_over_time(({READY})[$__range:$__interval]) * $__interval_ms / 3600000"))],
        ),
        Lines(
            title="Replicas by state",
            description="How many replicas are in which state. After a deploy, starting is minutes of loading and no "
            "fault.",
            unit="short",
            width=12,
            stacked=True,
            queries=[Query(total(series("headgate_replicas", POOL), "state"), "{{state}}")],
        ),
        Lines(
            title="Demand and ready replicas",
            description="Requests running and waiting, and the replicas that serve them. Demand that rises without "
            "replicas following is a queue to come.",
            unit="short",
            width=12,
            queries=[Query(DEMAND, "{{model}} demand"), Query(READY, "{{model}} ready replicas")],
        ),
        Lines(
            title="Desired replicas",
            description="How many replicas each scaled model is to have. While fewer are ready, they load, fail, or "
            "there is no room for them.",
            unit="short",
            queries=[Query(highest(series("headgate_desired_replicas", MODEL), "model"), "{{model}}")],
        ),
        Lines(
            title="Scaling decisions",
            description="How often the number of desired replicas was changed, by the reason. A change by several "
            "replicas counts once.",
            unit="short",
            queries=[
                Query(
                    total(
                        f"increase({series('headgate_scaling_decisions_total', MODEL)}[$__rate_interval])",
                        "model",
                        "reason",
                    ),
                    "{{model}}: {{reason}}",
                )
            ],
        ),
        Lines(
            title="Cold starts",
            description="How long the last start of a replica, or its waking, took until it was ready. Requests that "
            "are held for one wait that long.",
            unit="s",
            queries=[Query(highest(series("headgate_cold_start_seconds", MODEL), "model"), "{{model}}")],
        ),
        Lines(
            title="Scaled by two gateways",
            description="1 while another gateway on the same machine scales the model too. Neither knows which engines "
            "the other starts, nor on which GPUs.",
            unit="short",
            queries=[Query(highest(series("headgate_scaling_contested", MODEL), "model"), "{{model}}")],
        ),
        Lines(
            title="Demand on each ready replica",
            description="Compare it with what one replica carries, its knee: more than that waits. Gone while none is "
            "ready.",
            unit="short",
            queries=[Query(f"{DEMAND} / ({READY} > 0)", "{{model}}")],
        ),
        Lines(
            title="Waiting",
            description="Requests in the queue of each pool: the quickest sign that replicas are missing.",
            unit="short",
            queries=[Query(WAITING, "{{model}}")],
        ),
        Lines(
            title="Held until a replica is ready",
            description="Requests queued because no replica was ready (cold starts), and those that lost their replica "
            "and waited for one to come back.",
            unit="reqps",
            queries=[
                Query(
                    total(rate(series("headgate_admissions_total", MODEL, 'outcome="held"')), "model"), "{{model}} new"
                ),
                Query(
                    total(rate(series("headgate_retries_total", MODEL, 'outcome="held"')), "model"),
                    "{{model}} lost its replica",
                ),
            ],
        ),
    ],
)

DISCOVERY = Row(
    "Discovery",
    [
        Lines(
            title="Replicas found",
            description="Replicas that discovery found last, of pools that have it.",
            unit="short",
            queries=[Query(highest(series("headgate_discovered_replicas", POOL), "model"), "{{model}}")],
        ),
        Lines(
            title="Age of what was found",
            description="Time since the source answered last. The replicas that were found before stay.",
            unit="s",
            queries=[Query(highest(series("headgate_discovery_age_seconds", POOL), "model"), "{{model}}")],
        ),
        Lines(
            title="Failures of discovery",
            description="Failures a second to learn which replicas there are.",
            unit="short",
            queries=[Query(total(rate(series("headgate_discovery_errors_total", POOL)), "model"), "{{model}}")],
        ),
    ],
)

REPLICAS = Row(
    "Replicas",
    [
        Switches(
            title="When replicas were ready",
            description="When each replica got requests. Short gaps side by side are a rolling update, gaps of one "
            "replica crashes or failed probes.",
            unit="short",
            height=10,
            words=("not ready", "ready"),
            queries=[Query(highest(series("headgate_replica_ready", POOL), "replica"), "{{replica}}")],
        ),
        Lines(
            title="In flight at each replica",
            description="Requests at each replica. One far above the others is slow, or the policy sends it too much.",
            unit="short",
            width=12,
            height=10,
            queries=[Query(total(series("headgate_replica_in_flight", POOL), "replica"), "{{replica}}")],
        ),
        Lines(
            title="Time at each replica",
            description="How long a request is at each replica: requests in flight by requests that end in a second "
            "(Little's law). One far above the others is slow, and holds slots that the others could use.",
            unit="s",
            queries=[
                Query(
                    share(
                        total(
                            f"avg_over_time({series('headgate_replica_in_flight', POOL)}[$__rate_interval])", "replica"
                        ),
                        total(rate(series("headgate_upstream_attempts_total", MODEL)), "replica"),
                    ),
                    "{{replica}}",
                )
            ],
        ),
        Lines(
            title="Imbalance",
            description="Requests at the fullest ready replica over the mean of the ready ones: 1 is even. The policy "
            "prefix trades some of it for cache hits.",
            unit="short",
            queries=[
                Query(
                    share(highest(AT_READY, "model"), f"avg by (model) ({AT_READY})"),
                    "{{model}}",
                )
            ],
        ),
        Lines(
            title="Attempts at each replica",
            description="Requests sent to each replica, with retries and hedges.",
            unit="reqps",
            queries=[Query(total(rate(series("headgate_upstream_attempts_total", MODEL)), "replica"), "{{replica}}")],
        ),
        Lines(
            title="Stopped by a drain",
            description="Requests that ran longer than a drain waits.",
            unit="reqps",
            queries=[
                Query(
                    total(rate(series("headgate_upstream_aborts_total", MODEL, 'reason="drain"')), "model"), "{{model}}"
                )
            ],
        ),
        Lines(
            title="Ejections",
            description="How often requests had a replica ejected: it gave no responses, errors, or far later than its "
            "peers.",
            unit="short",
            queries=[
                Query(
                    total(
                        f"increase({series('headgate_ejections_total', POOL)}[$__rate_interval])", "replica", "reason"
                    ),
                    "{{replica}}: {{reason}}",
                )
            ],
        ),
        Lines(
            title="Restarts of engines",
            description="How often an engine that is started here has ended unasked and was started again.",
            unit="short",
            queries=[
                Query(
                    total(f"increase({series('headgate_replica_restarts_total', POOL)}[$__rate_interval])", "replica"),
                    "{{replica}}",
                )
            ],
        ),
        Lines(
            title="Failed probes",
            description="Probes of /health that failed, in a second. A remote engine that loads fails them, too.",
            unit="short",
            queries=[Query(total(rate(series("headgate_probe_failures_total", POOL)), "replica"), "{{replica}}")],
        ),
        Table.of(
            title="Availability",
            description="Share of the time shown that each replica was ready, and how often that changed.",
            width=24,
            height=7,
            sort_by="Changes",
            columns=[
                Column(title="Pool", label="model"),
                Column(title="Replica", label="replica"),
                Column(
                    title="Ready",
                    expression=highest(f"avg_over_time({WAS_READY})", "model", "replica"),
                    unit="percentunit",
                ),
                Column(
                    title="Changes",
                    expression=highest(f"changes({WAS_READY})", "model", "replica"),
                ),
            ],
        ),
    ],
)

ADAPTERS = Row(
    "Adapters",
    [
        Switches(
            title="Adapters loaded",
            description="Which replica has loaded which LoRA adapter; a model that is an adapter is asked of these "
            "alone.",
            unit="short",
            width=24,
            words=("not loaded", "loaded"),
            queries=[
                Query(highest(series("headgate_adapter_loaded", MODEL), "model", "replica"), "{{model}} at {{replica}}")
            ],
        ),
    ],
)

INSIDE = Row(
    "Inside the engines",
    [
        Lines(
            title="vLLM: KV cache in use",
            description="Share of the KV cache that running requests hold. Near 100 %, vLLM preempts and computes "
            "again.",
            unit="percentunit",
            queries=[Query(highest(series("vllm:kv_cache_usage_perc", ENGINES), "replica"), "{{replica}}")],
        ),
        Lines(
            title="vLLM: in the batch and in its own queue",
            description="Requests that an engine computes, and that it has queued itself. A long queue there means "
            "that max_in_flight is too high: it should be in the gateway.",
            unit="short",
            queries=[
                Query(total(series("vllm:num_requests_running", ENGINES), "replica"), "{{replica}} running"),
                Query(total(series("vllm:num_requests_waiting", ENGINES), "replica"), "{{replica}} waiting"),
            ],
        ),
        Lines(
            title="vLLM: prefix cache hits",
            description="Share of the tokens looked up in an engine's prefix cache that were found.",
            unit="percentunit",
            queries=[
                Query(
                    share(
                        total(rate(series("vllm:prefix_cache_hits_total", ENGINES)), "replica"),
                        total(rate(series("vllm:prefix_cache_queries_total", ENGINES)), "replica"),
                    ),
                    "{{replica}}",
                )
            ],
        ),
        Lines(
            title="vLLM: preemptions",
            description="Requests a second that lost their KV cache to others and are computed again.",
            unit="reqps",
            queries=[Query(total(rate(series("vllm:num_preemptions_total", ENGINES)), "replica"), "{{replica}}")],
        ),
        Lines(
            title="ONNX: time of a batch, p95",
            description="How long a batch computes on its thread.",
            unit="s",
            queries=[Query(quantile(0.95, "headgate_onnx_batch_duration_seconds", ENGINES, "model"), "{{model}}")],
        ),
        Lines(
            title="ONNX: wait for a thread, p95",
            description="How long the first text of a request waits for a thread of its engine.",
            unit="s",
            queries=[Query(quantile(0.95, "headgate_onnx_queue_duration_seconds", ENGINES, "model"), "{{model}}")],
        ),
        Lines(
            title="Memory of engines",
            description="Resident memory of engines that tell it.",
            unit="bytes",
            queries=[
                Query(
                    total(series("process_resident_memory_bytes", ENGINES, 'replica!=""'), "replica"),
                    "{{replica}} vLLM",
                ),
                Query(
                    total(series("headgate_onnx_process_resident_memory_bytes", ENGINES), "replica"), "{{replica}} ONNX"
                ),
            ],
        ),
        Switches(
            title="Metrics of engines",
            description="Whether each engine's own metrics could be read, which says nothing about its answers.",
            unit="short",
            width=16,
            words=("not read", "read"),
            queries=[
                Query(highest(series("headgate_engine_metrics_up", GATEWAY), "model", "replica"), "{{replica}}"),
            ],
        ),
    ],
)

SCALING = Dashboard(
    "headgate-scaling",
    "Headgate / Replicas and scaling",
    "Whether there are as many replicas as are needed, and what each of them is doing.",
    [SUPPLY, REPLICAS, DISCOVERY, ADAPTERS, INSIDE],
)
