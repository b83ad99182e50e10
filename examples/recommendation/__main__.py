"""Recommends questions of a help centre to people by what they asked before, and says why.

Run it against a gateway that `make serve` has started: `.venv/bin/python -m examples.recommendation`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from openai import APIConnectionError, APIStatusError, OpenAI

from examples.recommendation.catalogue import QUESTIONS, CatalogueError, Choice, Item, read_choices, read_items
from examples.recommendation.ranking_quality import chart, compare, mean, table
from examples.recommendation.recommender import Recommender
from examples.recommendation.simulated_people import SPLIT_DAY, simulate
from examples.vectors import Embedder, cache_folder

PEOPLE = ("person-1", "person-2", "somebody new")
SHOWN_HISTORY = 5
MEASURED_SEEDS = (11, 12, 13, 14, 15)
"""Not those by which the recommender's numbers were chosen, which were 1, 2 and 3."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit status."""
    asked = _parser().parse_args(arguments)
    client = OpenAI(base_url=asked.url, api_key=asked.key)
    try:
        items = read_items(asked.items)
        choices = _choices(items, asked)
        vectors = Embedder(client, asked.model, asked.cache / "vectors.npz").embed([item.text for item in items])
    except CatalogueError as error:
        return _fail(str(error))
    except APIConnectionError:
        return _fail(f"No gateway answers at {asked.url}; start one with: make serve")
    except APIStatusError as error:
        return _fail(f"The gateway refused to embed with {asked.model}: {error.message}")
    except KeyboardInterrupt:
        return _fail("Interrupted; what is embedded is kept, and the next run goes on from there.")
    if asked.measure:
        measure(items, vectors, asked.svg)
    else:
        show(items, Recommender(items, vectors, choices), asked.person or PEOPLE, asked.count)
    return 0


def show(items: Sequence[Item], recommender: Recommender, people: Sequence[str], count: int) -> None:
    """Print what each person chose last, and what is recommended to them."""
    for person in people:
        history = recommender.history(person)
        print(f"\n{person}", "has chosen, the latest last:" if history else "is not known: nothing was chosen yet.")
        for item in history[-SHOWN_HISTORY:]:
            print(f"    {_short(items[item].text)}")
        print("may like:" if history else "What most people choose:")
        recommended = recommender.recommend(person, count)
        for place, each in enumerate(recommended, 1):
            print(f"{place:>2}. {_short(items[each.item].text)}\n      {each.why}")
        if not recommended:
            print("    nothing: every item has been chosen")


def measure(items: Sequence[Item], vectors: np.ndarray, svg: Path | None) -> None:
    """Print hit rate and NDCG on later choices, the mean over several simulations, and draw them."""
    found = []
    for seed in MEASURED_SEEDS:
        later = [choice for choice in simulate(items, seed) if choice.day >= SPLIT_DAY]
        found.append(compare(items, Recommender(items, vectors, _past(items, seed)), later, seed))
        print(f"seed {seed}: {len({choice.person for choice in later})} people, {len(later)} later choices", flush=True)
    means = {name: mean([each[name] for each in found]) for name in found[0]}
    print(table(means))
    if svg:
        svg.write_text(chart(means).file(), encoding="utf-8")


def _choices(items: Sequence[Item], asked: argparse.Namespace) -> list[Choice]:
    """Return the choices to learn from: those of the file, or else what simulated people chose before the split."""
    if asked.choices and not asked.measure:
        return read_choices(asked.choices, items)
    if not all(item.intent and item.domain for item in items):
        raise CatalogueError(f"{asked.items}: people can only be simulated for items with intent and domain")
    return _past(items, asked.seed)


def _past(items: Sequence[Item], seed: int) -> list[Choice]:
    return [choice for choice in simulate(items, seed) if choice.day < SPLIT_DAY]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.recommendation", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1", help="the gateway (%(default)s)")
    parser.add_argument("--key", default="unused", help="an API key, where the gateway wants one")
    parser.add_argument("--model", default="minilm", help="the embedder (%(default)s)")
    parser.add_argument("--person", action="append", help="for whom; may be given several times")
    parser.add_argument("--count", type=_positive, default=5, help="how many to recommend (%(default)s)")
    parser.add_argument("--items", type=Path, default=QUESTIONS, help="a CSV file with the columns id,text")
    parser.add_argument("--choices", type=Path, help="a CSV file with the columns person,item,day; else simulated")
    parser.add_argument("--seed", type=int, default=11, help="of the simulated people (%(default)s)")
    parser.add_argument(
        "--cache", type=Path, default=cache_folder("recommendation"), help="where vectors are kept (%(default)s)"
    )
    parser.add_argument("--measure", action="store_true", help="measure recommendations of simulated people instead")
    parser.add_argument("--svg", type=Path, help="draw what is measured")
    return parser


def _positive(given: str) -> int:
    if not given.isascii() or not given.isdigit() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, not {given!r}")
    return int(given)


def _fail(problem: str) -> int:
    print(problem, file=sys.stderr)
    return 1


def _short(text: str, most: int = 100) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


if __name__ == "__main__":
    sys.exit(main())
