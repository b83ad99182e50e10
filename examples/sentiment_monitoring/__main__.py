"""Watches a stream of texts: gives each a topic and a sentiment, and raises an alert when a topic turns negative.

Two classifiers do it, made by fine-tuning through the gateway if they are not there yet. The stream is the lines of a
file or of stdin (`--source -`), or a simulated one in which a topic turns negative after a while.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any

from examples.classifiers import DEFAULT_URL, FAILURES, NO_KEY, connect, explained, find_or_make
from examples.options import address, positive, web_address, whole
from examples.sentiment_monitoring.alert_quality import SEEDS, measure, picture
from examples.sentiment_monitoring.sentiment_metrics import Metrics
from examples.sentiment_monitoring.sentiment_monitor import Monitor, watch
from examples.sentiment_monitoring.stream_labels import StreamLabels
from examples.sentiment_monitoring.text_streams import Backlog, Shift, StreamFailed, paced, read_lines, simulated
from examples.sentiment_monitoring.webhook import Webhook
from examples.texts import RatedText, rated_texts

TOPIC, SENTIMENT = "monitoring-topic", "monitoring-sentiment"
"""The suffixes of the two classifiers."""

PART = 500
"""Texts that are classified between two signs of life of a measurement."""

PLANTED = Shift("products", after=2400, share=0.65)
"""What happens in the simulated stream."""

_CLOSING_SECONDS = 20.0
"""How long the end waits for the webhook."""


def watch_stream(options: argparse.Namespace, labels: StreamLabels, metrics: Metrics) -> None:
    """Watch the stream that the options name, and tell the webhook of alerts, if there is one."""
    webhook = Webhook(options.webhook, metrics.message) if options.webhook else None

    def tell(alert: dict[str, Any]) -> None:
        print(f"*** {alert['text']}", flush=True)
        if webhook is not None:
            webhook.send(alert)

    monitor = Monitor(metrics, tell)
    try:
        with opened(options) as texts:
            backlog = Backlog(texts)
            metrics.waiting.set_function(lambda: len(backlog))
            watch(backlog, labels, monitor, metrics, options.stalled)
    finally:
        if webhook is not None:
            webhook.close(_CLOSING_SECONDS)


@contextmanager
def opened(options: argparse.Namespace) -> Iterator[Iterable[str]]:
    """Open the stream that the options name."""
    if options.source is None:
        stream = islice(simulated(held_out(), options.seed, PLANTED), options.texts)
        print(f"from text {PLANTED.after:,} on, {PLANTED.share:.0%} of the texts about {PLANTED.topic} are negative")
        yield paced((each.text for each in stream), options.pace)
    elif options.source == Path("-"):
        yield read_lines(TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace"))
    else:
        with options.source.open(encoding="utf-8", errors="replace") as file:
            yield read_lines(file)


def held_out() -> list[RatedText]:
    """Return the texts that the classifiers have not learnt from."""
    return [each for each in rated_texts() if each.held_out]


def measure_all(options: argparse.Namespace, labels: StreamLabels) -> None:
    """Print how good classifiers and alerts are; write the picture of one stream, if it is wanted."""
    texts = held_out()[: options.examples]
    answers: dict[RatedText, tuple[str, str]] = {}
    for start in range(0, len(texts), PART):
        print(f"classifying {len(texts):,} texts: {start:,} are done", flush=True)
        part = texts[start : start + PART]
        answers |= zip(part, labels.label([each.text for each in part]), strict=True)
    print("\n".join(measure(texts, answers, options.seeds)))
    if options.svg:
        options.svg.write_text(picture(texts, answers, PLANTED, options.texts, options.seed).file(), encoding="utf-8")


def run(options: argparse.Namespace) -> None:
    """Make the classifiers if there are none, then watch or measure."""
    learnt = [each for each in rated_texts() if not each.held_out][: options.examples]
    topics = [(each.text, each.topic) for each in learnt]
    sentiments = [(each.text, each.sentiment) for each in learnt]
    with connect(options.url, options.key) as client:
        topic = find_or_make(client, TOPIC, topics, time_budget=options.time_budget)
        sentiment = find_or_make(client, SENTIMENT, sentiments, time_budget=options.time_budget)
    metrics = Metrics()
    with ExitStack() as stack:
        labels = stack.enter_context(
            closing(StreamLabels(options.url, topic, sentiment, metrics.retries.inc, options.key))
        )
        if options.measure:
            measure_all(options, labels)
            return
        if options.metrics:
            print(f"metrics at http://{stack.enter_context(metrics.serving(options.metrics))}/metrics")
        watch_stream(options, labels, metrics)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.sentiment_monitoring", description=__doc__)
    add = parser.add_argument
    add("--url", type=web_address, default=DEFAULT_URL, help="the gateway (default: %(default)s)")
    add("--key", default=NO_KEY, help="an API key, where the gateway wants one")
    add("--source", type=Path, metavar="FILE", help='lines of text, or of JSON: {"text": "…"}; - is stdin')
    add("--texts", type=whole, default=4000, metavar="N", help="the simulated stream's length (default: %(default)s)")
    add("--pace", type=positive, default=100, metavar="N", help="its texts in a second (default: %(default)s)")
    add("--seed", type=int, default=1, metavar="N", help="which simulated stream (default: 1)")
    add("--metrics", type=address, metavar="HOST:PORT", help="serve Prometheus's metrics there")
    add("--webhook", type=web_address, metavar="URL", help="post each alert there as JSON")
    add("--stalled", type=positive, default=10, metavar="SECONDS", help="say that no texts come (default: 10)")
    add("--time-budget", type=positive, default=180, metavar="SECONDS", help="of each training (default: 180)")
    add("--examples", type=whole, metavar="N", help="learn from, and measure with, so many at most")
    add("--measure", action="store_true", help="say how good classifiers and alerts are on texts that were held out")
    add(
        "--seeds",
        type=whole,
        default=SEEDS,
        metavar="N",
        help="with --measure: how many streams (default: %(default)s)",
    )
    add("--svg", type=Path, metavar="FILE", help="with --measure: draw one simulated stream")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    options = parse(arguments)
    try:
        run(options)
    except (*FAILURES, StreamFailed, OSError) as error:
        print(f"sentiment_monitoring: {explained(error, options.url)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
