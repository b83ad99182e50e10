"""The options of ``headgate quantize`` and of ``python -m engines.onnx.quantize``, in one place for both."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from engines.onnx.quantize.gate import Gate

QUANTIZED = ("labels", "max_length", "output")
"""The options of the model itself that the process is told too; see ``engines.onnx.options``."""

QUANTIZED_TASKS = ("classify", "embed")
"""Models with other tasks have no measure of how good a variant's answers are."""

VARIANT_NAMES = ("dynamic", "static", "static-smoothed", "per-token")
"""What can be made; ``variants.VARIANTS`` says how. It is named here, where the package onnx is not needed."""

_LIMITS = {
    "min-speedup": ("min_speedup", "times", "how many times faster a variant has to be"),
    "max-accuracy-loss": ("max_accuracy_loss", "points", "how much accuracy it may lose"),
    "max-neighbour-flips": ("max_neighbour_flips", "percent", "answers that its batch neighbours may change"),
    "max-size": ("max_size", "times", "how large it may be, as a part of the model's size"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data and the limits of the gate."""
    parser.add_argument(
        "--data",
        nargs="+",
        type=Path,
        required=True,
        metavar="FILE",
        help="texts to measure with: CSV with the columns text and label (or category), JSON lists of [text, label], or"
        ' lines of JSON (.jsonl) like {"text": …, "label": …}',
    )
    parser.add_argument(
        "--calibrate",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="texts to calibrate with (default: some of the data, which is then not measured with)",
    )
    parser.add_argument(
        "--max-texts", type=_count, default=3000, metavar="N", help="texts of each file at most (default %(default)s)"
    )
    parser.add_argument(
        "--max-mixed",
        type=_count,
        default=3000,
        metavar="N",
        help="texts at most that are also put into batches of any lengths, to see what neighbours change (default"
        " %(default)s)",
    )
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=VARIANT_NAMES,
        default=list(VARIANT_NAMES),
        metavar="NAME",
        help=f"which variants to make, of {', '.join(VARIANT_NAMES)} (default: all)",
    )
    parser.add_argument(
        "--threads",
        type=_count,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="threads that compare answers; speed is measured in one (default: the cores, here %(default)s)",
    )
    parser.add_argument(
        "--card", type=Path, metavar="PREFIX", help="write the card as PREFIX.md, PREFIX.json and PREFIX.svg as well"
    )
    for flag, (name, unit, meaning) in _LIMITS.items():
        parser.add_argument(
            f"--{flag}",
            type=float,
            default=getattr(Gate, name),
            metavar="X",
            help=f"{meaning}, in {unit} (default %(default)s)",
        )


def gate_of(options: argparse.Namespace) -> Gate:
    """Take the gate's limits out of parsed options."""
    return Gate(**{name: getattr(options, name) for name, _, _ in _LIMITS.values()})


def words(options: argparse.Namespace) -> list[str]:
    """Write parsed options as a command line again, for the process that does the work."""
    line = ["--data", *map(str, options.data), "--variants", *options.variants]
    line += ["--max-texts", str(options.max_texts), "--max-mixed", str(options.max_mixed)]
    line += ["--threads", str(options.threads)]
    if options.calibrate:
        line += ["--calibrate", *map(str, options.calibrate)]
    if options.card is not None:
        line += ["--card", str(options.card)]
    for flag, (name, _, _) in _LIMITS.items():
        line += [f"--{flag}", str(getattr(options, name))]
    return line


def _count(word: str) -> int:
    if not (word.isascii() and word.isdigit() and int(word)):
        raise argparse.ArgumentTypeError(f"is {word}; expected a whole number of at least 1")
    return int(word)
