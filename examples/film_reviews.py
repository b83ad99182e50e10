"""Makes a classifier of film reviews, watches it learn, asks it, and measures it on reviews that it has not seen.

It is what docs/finetuning.md begins with, as a program. examples/texts.py has the reviews.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence

import httpx

from examples.classifiers import (
    DEFAULT_URL,
    FAILURES,
    NO_KEY,
    Verdict,
    bearer,
    classify,
    connect,
    explained,
    find_or_make,
)
from examples.options import positive, web_address, whole
from examples.texts import RatedText, rated_texts

SUFFIX = "film-reviews"
ASKED = ("A film to see twice.", "Not worth the ticket.", "I laughed, but for all the wrong reasons.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.film_reviews", description=__doc__)
    parser.add_argument("--url", type=web_address, default=DEFAULT_URL, help="the gateway (default: %(default)s)")
    parser.add_argument("--key", default=NO_KEY, help="an API key, where the gateway wants one")
    parser.add_argument(
        "--time-budget", type=positive, default=75, metavar="SECONDS", help="of training (default: %(default)s)"
    )
    parser.add_argument("--examples", type=whole, metavar="N", help="learn from, and measure with, so many at most")
    options = parser.parse_args(arguments)
    try:
        run(options.url, options.key, options.time_budget, options.examples)
    except FAILURES as error:
        print(f"film_reviews: {explained(error, options.url)}", file=sys.stderr)
        return 1
    return 0


def run(url: str, key: str, time_budget: float, at_most: int | None) -> None:
    """Make the classifier if there is none yet, ask it, and measure it."""
    reviews = rated(rated_texts())
    training = [each for each in reviews if not each.held_out][:at_most]
    held_out = [each for each in reviews if each.held_out][:at_most]

    with connect(url, key) as client:
        examples = [(each.text, label(each)) for each in training]
        model = find_or_make(client, SUFFIX, examples, time_budget=time_budget)
    with httpx.Client(timeout=600, headers=bearer(key)) as http:
        for text, verdict in zip(ASKED, classify(http, url, model, ASKED), strict=True):
            print(f"{verdict.label} ({verdict.probability:.0%}): {text}")
        verdicts = classify(http, url, model, [each.text for each in held_out])
    right = accuracy(held_out, verdicts)
    print(f"{right:.1%} of {len(held_out):,} sentences that it has not learnt from are classified rightly")


def rated(texts: Iterable[RatedText]) -> list[RatedText]:
    """Keep sentences about films that are good or bad to those who rated them; SST-2 leaves the others out, too."""
    return [each for each in texts if each.topic == "films" and each.sentiment != "neutral"]


def label(review: RatedText) -> str:
    """Say in a word what a review is."""
    return "good" if review.rating > 0 else "bad"


def accuracy(reviews: Sequence[RatedText], verdicts: Sequence[Verdict]) -> float:
    """Compute the share of verdicts that are right, 0 to 1."""
    return sum(map(lambda review, said: said.label == label(review), reviews, verdicts)) / len(reviews)


if __name__ == "__main__":
    sys.exit(main())
