"""Whether users get what they were promised, and where to look if not: the dashboard to begin with."""

from __future__ import annotations

from deploy.monitoring.dashboard import Dashboard, Row
from deploy.monitoring.objectives import AVAILABILITY, LATENCY_SHARE, TPOT_SECONDS, TTFT_SECONDS
from deploy.monitoring.panels import Column, Heatmap, Limits, Lines, Number, Query, Table
from deploy.monitoring.promql import (
    GATEWAY,
    MODEL,
    POOL,
    for_each_model,
    highest,
    mean,
    quantile,
    rate,
    series,
    share,
    total,
    within,
)

TTFT = "headgate_time_to_first_token_seconds"
TPOT = "headgate_time_per_output_token_seconds"
E2E = "headgate_request_duration_seconds"
QUEUE = "headgate_queue_duration_seconds"

_ERRORS = Limits(1 - AVAILABILITY, 10 * (1 - AVAILABILITY))
_GOOD = Limits(LATENCY_SHARE, LATENCY_SHARE - 0.1, low_is_bad=True)
_FULL = Limits(0.8, 0.95)


def requests(*matchers: str, by: tuple[str, ...] = ()) -> str:
    """Requests that ended in a second."""
    return total(rate(series("headgate_requests_total", MODEL, *matchers)), *by)


def errors(*by: str) -> str:
    """The share of requests that ended in a 5xx."""
    return share(requests('code=~"5.."', by=by), requests(by=by))


def turned_away(*by: str) -> str:
    """The share of requests that found no place in the queue, or whose time in it was over."""
    refused = rate(series("headgate_admissions_total", MODEL, 'outcome=~"refused|shed|timeout"'))
    asked = rate(series("headgate_admissions_total", MODEL, 'outcome=~"admitted|queued|refused|shed"'))
    return share(total(refused, *by), total(asked, *by))


def of_pools(gauge: str, *matchers: str) -> str:
    """Sum a gauge over the gateways, for each pool."""
    return total(series(gauge, POOL, *matchers), "model")


def percentiles(histogram: str) -> list[Query]:
    """The median and the two tails of a histogram over all models that are chosen."""
    return [Query(quantile(q, histogram, MODEL), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)]


READY = of_pools("headgate_replicas", 'state="ready"')

NOW = Row(
    "Now",
    [
        Number(
            title="Pools ready",
            description="Pools with a ready replica, and all pools. Models with the same replicas share a pool.",
            unit="short",
            queries=[
                Query(total(f"{READY} > bool 0"), "ready"),
                Query(f"count({READY})", "all"),
            ],
        ),
        Number(
            title="Requests",
            description="Requests that ended, in a second.",
            unit="reqps",
            queries=[Query(requests())],
        ),
        Number(
            title="Errors",
            description="Share of requests that ended in a 5xx, within a stream too. Clients that left are not in it.",
            unit="percentunit",
            queries=[Query(errors())],
            limits=_ERRORS,
            decimals=2,
        ),
        Number(
            title="Turned away",
            description="Share of requests for which the queue was full, or that waited in it for too long.",
            unit="percentunit",
            queries=[Query(turned_away())],
            limits=Limits(0.001, 0.01),
            decimals=2,
        ),
        Number(
            title=f"TTFT ≤ {TTFT_SECONDS:g} s",
            description="Share of streams whose first token came in time. Counted in a bucket, not estimated.",
            unit="percentunit",
            queries=[Query(within(TTFT_SECONDS, TTFT, MODEL))],
            limits=_GOOD,
            decimals=1,
        ),
        Number(
            title=f"TPOT ≤ {TPOT_SECONDS * 1000:g} ms",
            description="Share of streams whose output tokens came fast enough, as a mean over each stream.",
            unit="percentunit",
            queries=[Query(within(TPOT_SECONDS, TPOT, MODEL))],
            limits=_GOOD,
            decimals=1,
        ),
        Number(
            title="Oldest waiting",
            description="How long the request that is next in line has waited, in the pool where that is longest.",
            unit="s",
            queries=[Query(highest(series("headgate_oldest_waiting_seconds", POOL)))],
            limits=Limits(5, 30),
        ),
        Number(
            title="Saturation",
            description="Requests running as a share of max_in_flight, in the fullest pool; 0 where there is no limit.",
            unit="percentunit",
            queries=[Query(highest(series("headgate_pool_saturation", POOL)))],
            limits=_FULL,
        ),
    ],
)

_TO_MODEL = "/d/headgate-overview?${__url_time_range}&var-model=${__value.text}"
_TO_POOL = "/d/headgate-scaling?${__url_time_range}&var-model=${__value.text}"

MODELS = Row(
    "Models",
    [
        Table.of(
            title="Every model",
            description="What each model does now. A click on a model shows it alone, one on its pool the replicas. "
            "What belongs to a pool (waiting, running, ready) is the same for all of its models.",
            height=9,
            sort_by="Requests",
            columns=[
                Column(title="Model", label="model", link=_TO_MODEL),
                Column(title="Pool", label="pool", link=_TO_POOL),
                Column(title="Requests", expression=requests(by=("model",)), unit="reqps"),
                Column(title="Errors", expression=errors("model"), unit="percentunit", limits=_ERRORS),
                Column(title="TTFT p95", expression=quantile(0.95, TTFT, MODEL, "model"), unit="s"),
                Column(title="TPOT p95", expression=quantile(0.95, TPOT, MODEL, "model"), unit="s"),
                Column(title="E2E p95", expression=quantile(0.95, E2E, MODEL, "model"), unit="s"),
                Column(title="Waiting", expression=for_each_model(of_pools("headgate_requests_waiting"))),
                Column(title="Running", expression=for_each_model(of_pools("headgate_requests_running"))),
                Column(title="Ready", expression=for_each_model(READY), limits=Limits(1, 1, low_is_bad=True)),
            ],
        )
    ],
)

TRAFFIC = Row(
    "Traffic and errors",
    [
        Lines(
            title="Requests by status",
            description="How requests ended. A stream that failed after its 200 counts as its error; 499 is a client "
            "that left.",
            unit="reqps",
            queries=[Query(requests(by=("code",)), "{{code}}")],
            stacked=True,
        ),
        Lines(
            title="Errors by model",
            description="Share of each model's requests that ended in a 5xx.",
            unit="percentunit",
            queries=[Query(errors("model"), "{{model}}")],
            limits=_ERRORS,
        ),
        Lines(
            title="Refused by a limit of the key",
            description="Requests refused by a limit or another restriction of their key, by its group: limits at "
            "work, not overload.",
            unit="reqps",
            queries=[
                Query(
                    total(rate(series("headgate_key_refusals_total", GATEWAY)), "group", "reason"),
                    "{{group}}: {{reason}}",
                )
            ],
        ),
    ],
)

LATENCY = Row(
    "Latency, as clients see it",
    [
        Lines(
            title="Time to first token",
            description="From the last byte of the request to the first event with content, with the queue. Streams "
            "only.",
            unit="s",
            queries=percentiles(TTFT),
        ),
        Lines(
            title="Time per output token",
            description="(E2E - TTFT) / (output tokens - 1), a mean over each stream.",
            unit="s",
            queries=percentiles(TPOT),
        ),
        Lines(
            title="End to end",
            description="From the last byte of the request to the last of the response. With generation it depends "
            "mostly on how long the answers are.",
            unit="s",
            queries=percentiles(E2E),
        ),
        Lines(
            title="Within the objectives",
            description=f"Share of each model's streams with a TTFT of {TTFT_SECONDS:g} s and a TPOT of "
            f"{TPOT_SECONDS * 1000:g} ms at most.",
            unit="percentunit",
            queries=[
                Query(within(TTFT_SECONDS, TTFT, MODEL, "model"), "{{model}} TTFT"),
                Query(within(TPOT_SECONDS, TPOT, MODEL, "model"), "{{model}} TPOT"),
            ],
        ),
        Lines(
            title="Within the objectives of the configuration",
            description="Share of the requests that met each objective that the configuration sets for their model. "
            "Errors are not in it.",
            unit="percentunit",
            queries=[
                Query(
                    share(
                        total(rate(series("headgate_slo_requests_total", MODEL, 'outcome="met"')), "model", "slo"),
                        total(rate(series("headgate_slo_requests_total", MODEL)), "model", "slo"),
                    ),
                    "{{model}} {{slo}}",
                )
            ],
        ),
        Heatmap(
            title="Time to first token, distribution",
            description="How many streams had which TTFT: two bands are two kinds of requests, or a good and a bad "
            "replica.",
            unit="s",
            queries=[Query(total(f"increase({series(f'{TTFT}_bucket', MODEL)}[$__rate_interval])", "le"), "{{le}}")],
        ),
        Lines(
            title="Where the time to first token goes",
            description="Its mean, and how much of it is waiting for a slot and the gateway's own time. The rest is "
            "the engine's.",
            unit="s",
            queries=[
                Query(mean(TTFT, MODEL), "TTFT"),
                Query(mean(QUEUE, MODEL), "in the queue"),
                Query(mean("headgate_overhead_seconds", MODEL), "in the gateway"),
            ],
        ),
    ],
)

QUEUEING = Row(
    "Queue",
    [
        Lines(
            title="Running and waiting",
            description="Requests with a slot, and in the queue, of all chosen pools.",
            unit="short",
            queries=[
                Query(total(series("headgate_requests_running", POOL)), "running"),
                Query(total(series("headgate_requests_waiting", POOL)), "waiting"),
            ],
            stacked=True,
        ),
        Lines(
            title="Oldest waiting by pool",
            description="How long the request that is next in line has waited.",
            unit="s",
            queries=[Query(highest(series("headgate_oldest_waiting_seconds", POOL), "model"), "{{model}}")],
        ),
        Lines(
            title="Wait for a slot, p95",
            description="Requests that were admitted at once count as 0; those that gave up, with the time until they "
            "did.",
            unit="s",
            queries=[Query(quantile(0.95, QUEUE, MODEL, "model"), "{{model}}")],
        ),
        Lines(
            title="Admission",
            description="Admitted at once, queued, held (queued because no replica was ready), refused because the "
            "queue was full, shed because the gateway itself has too much to do, or timed out in the queue.",
            unit="reqps",
            queries=[Query(total(rate(series("headgate_admissions_total", MODEL)), "outcome"), "{{outcome}}")],
        ),
        Lines(
            title="Saturation by pool",
            description="Requests running as a share of max_in_flight; 0 where there is no limit.",
            unit="percentunit",
            queries=[Query(highest(series("headgate_pool_saturation", POOL), "model"), "{{model}}")],
            limits=_FULL,
        ),
        Lines(
            title="Output tokens that may still come",
            description="The sum of max_tokens over the running requests; one without max_tokens adds 0.",
            unit="short",
            queries=[Query(of_pools("headgate_tokens_in_flight"), "{{model}}")],
        ),
    ],
)

TOKENS = Row(
    "Tokens",
    [
        Lines(
            title="Tokens",
            description="Tokens a second as the engines report them. Cached ones are part of the input. An aborted "
            "request reports none.",
            unit="short",
            queries=[Query(total(rate(series("headgate_tokens_total", MODEL)), "type"), "{{type}}")],
        ),
        Lines(
            title="Input found in a prefix cache",
            description="Share of input tokens that an engine did not have to compute.",
            unit="percentunit",
            queries=[
                Query(
                    share(
                        total(rate(series("headgate_tokens_total", MODEL, 'type="cached"')), "model"),
                        total(rate(series("headgate_tokens_total", MODEL, 'type="input"')), "model"),
                    ),
                    "{{model}}",
                )
            ],
        ),
        Lines(
            title="Tokens of groups of keys",
            description="Tokens a second of keys with limits, by their group; other keys are not in it.",
            unit="short",
            queries=[
                Query(total(rate(series("headgate_key_tokens_total", GATEWAY)), "group", "type"), "{{group}} {{type}}")
            ],
        ),
    ],
)

FAILURES = Row(
    "Failures, and what was done about them",
    [
        Lines(
            title="Failing replicas",
            description="Attempts that failed or timed out, by replica. Together with few errors above it says that "
            "retries hide a bad replica, for now.",
            unit="reqps",
            queries=[
                Query(
                    total(
                        rate(series("headgate_upstream_attempts_total", MODEL, 'outcome=~"failed|timeout|full"')),
                        "replica",
                        "outcome",
                    ),
                    "{{replica}} {{outcome}}",
                )
            ],
        ),
        Lines(
            title="Retries",
            description="Failed attempts that were tried again elsewhere, held until a replica came back, or given up "
            "because the retry budget was used up.",
            unit="reqps",
            queries=[Query(total(rate(series("headgate_retries_total", MODEL)), "outcome"), "{{outcome}}")],
        ),
        Lines(
            title="Streams whose replica died",
            description="How streams ended that lost their replica after the first token; a recovered one was whole "
            "for its client, all others but the aborted were cut.",
            unit="reqps",
            queries=[Query(total(rate(series("headgate_stream_recoveries_total", MODEL)), "outcome"), "{{outcome}}")],
        ),
        Lines(
            title="Requests stopped at an engine",
            description="The client left or read too slowly, a timeout, a drain, or the other of two attempts was "
            "faster (hedged, which is no fault).",
            unit="reqps",
            queries=[Query(total(rate(series("headgate_upstream_aborts_total", MODEL)), "reason"), "{{reason}}")],
        ),
        Lines(
            title="Fallbacks",
            description="Requests for a model that another one was asked for instead.",
            unit="reqps",
            queries=[
                Query(total(rate(series("headgate_fallbacks_total", MODEL)), "model", "to"), "{{model}} → {{to}}")
            ],
        ),
    ],
)

OVERVIEW = Dashboard(
    "headgate-overview",
    "Headgate / Overview",
    "Whether users get what they were promised, and where to look if not.",
    [NOW, MODELS, TRAFFIC, LATENCY, QUEUEING, TOKENS, FAILURES],
)
