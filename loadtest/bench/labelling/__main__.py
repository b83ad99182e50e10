"""The command line of the simulation: ``python -m loadtest.bench.labelling``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engines.onnx.model.model import load
from engines.onnx.quantize.texts import DataError
from loadtest.bench.labelling.data import texts_of
from loadtest.bench.labelling.simulate import STRATEGIES, Rounds, Texts, accuracies, labels_for
from loadtest.svg.line_chart import Line, line_chart

_EXAMPLES = """\
example:
  python -m loadtest.bench.labelling --folder ~/.cache/headgate/files/… \\
      --data banking77_train.csv --data clinc150.json --svg labels.svg
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(
        prog="python -m loadtest.bench.labelling",
        description="Simulate how many labels the choice of /v1/suggest saves: logistic regression on vectors, trained "
        "further after each round of labelling, on texts chosen at random and on those that are suggested.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("--folder", type=Path, required=True, metavar="DIR", help="the embedder; `headgate models` says where it is")
    add("--data", type=Path, action="append", required=True, metavar="FILE", help="CSV or JSON with texts and labels")
    add("--pool", type=int, default=5000, metavar="N", help="texts to choose from, drawn anew each time (%(default)s)")
    add("--test", type=int, default=2000, metavar="N", help="texts to measure with, never chosen (%(default)s)")
    add("--first", type=int, default=150, metavar="N", help="labels at the beginning (%(default)s)")
    add("--step", type=int, default=150, metavar="N", help="labels of a round (%(default)s)")
    add("--last", type=int, default=1650, metavar="N", help="labels at the end (%(default)s)")
    add("--seeds", type=int, default=5, metavar="N", help="how often it is repeated (%(default)s)")
    add("--max-texts", type=int, default=7000, metavar="N", help="texts of each file at most (%(default)s)")
    add("--without", metavar="LABEL", help="leave out the texts of this label, such as those that are of no class")
    add("--cache", type=Path, metavar="DIR", help="keep the vectors here for another time")
    add("--svg", type=Path, metavar="FILE", help="draw the curves")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = parser().parse_args(arguments)
    model = load("embedder", options.folder, "embed")
    rounds = Rounds(options.first, options.step, options.last)
    lines: list[Line] = []
    for file in options.data:
        try:
            texts = texts_of(file, model, options.max_texts, options.cache, options.without)
        except DataError as error:
            print(error, file=sys.stderr)
            return 2
        if len(texts.classes) < options.test + options.last:
            print(f"{file}: {len(texts.classes)} labelled texts are too few for --test and --last", file=sys.stderr)
            return 2
        found = {name: _mean_of_seeds(texts, rounds, name, options) for name in STRATEGIES}
        _tell(file.stem, rounds, found)
        lines += [
            Line(
                f"{file.stem}, {name}",
                list(zip(rounds.labels, (100 * each for each in values), strict=True)),
                marked=True,
            )
            for name, values in found.items()
        ]
    if options.svg is not None:
        chart = line_chart("Accuracy by the number of labels", lines, x="labels", y="% right")
        options.svg.write_text(chart.file(), encoding="utf-8")
    return 0


def _mean_of_seeds(texts: Texts, rounds: Rounds, strategy: str, options: argparse.Namespace) -> list[float]:
    runs = []
    for seed in range(options.seeds):
        order = np.random.default_rng(1000 + seed).permutation(len(texts.classes))
        test, pool = order[: options.test], order[options.test : options.test + options.pool]
        runs.append(accuracies(texts.taken(pool), texts.taken(test), rounds, STRATEGIES[strategy], seed))
    means: list[float] = np.mean(runs, axis=0).tolist()
    return means


def _tell(name: str, rounds: Rounds, found: dict[str, list[float]]) -> None:
    """Print the curves, and how many labels are needed for what random choice reaches at the end."""
    print(f"{name:<16}" + "".join(f"{labels:7d}" for labels in rounds.labels))
    for strategy, values in found.items():
        print(f"  {strategy:<14}" + "".join(f"{100 * value:6.1f}%" for value in values))
    goal = found["random"][-1]
    needed = labels_for(goal, rounds.labels, found["suggested"])
    said = "not reached" if needed is None else f"{needed:.0f} labels, {needed / rounds.labels[-1]:.0%} of them"
    print(f"  {100 * goal:.1f} % at random with {rounds.labels[-1]} labels; suggested: {said}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
