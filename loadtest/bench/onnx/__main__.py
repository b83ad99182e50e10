"""The command line of the benchmark of small models: ``python -m loadtest.bench.onnx``."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop

from engines.onnx.model.model import load
from loadtest import workload
from loadtest.bench.cpu_affinity import AVAILABLE_CPUS
from loadtest.bench.onnx import explanation, faithfulness, latency, memory, overload, padding, throughput
from loadtest.bench.onnx.subject import MODEL, PATHS, Subject

_EXAMPLES = """\
examples:
  python -m loadtest.bench.onnx --folder ~/.cache/headgate/files/… --task embed
  python -m loadtest.bench.onnx --folder … --task classify --labels benign,injection --part memory --part padding
  python -m loadtest.bench.onnx --folder … --task embed --part padding --texts sentences.txt
  python -m loadtest.bench.onnx --folder … --task embed --part throughput \\
      --infinity venv/bin/python --infinity-model DIR
"""

_SHORTEST, _LONGEST = 16, 64
"""Tokens of the texts that are made up."""

PARTS: Mapping[str, Callable[[Subject], Coroutine[Any, Any, None]]] = {
    "throughput": throughput.measure,
    "alone": latency.measure,
    "padding": padding.measure,
    "overload": overload.measure,
    "memory": memory.measure,
    "explanation": explanation.measure,
    "faithfulness": faithfulness.measure,
}
"""What can be measured, in the order in which it is."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(
        prog="python -m loadtest.bench.onnx",
        description="Measure the ONNX engine against the most that ONNX Runtime can do with the same model here.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("--folder", type=Path, required=True, metavar="DIR", help="the model's folder; `headgate models` says where")
    add("--task", choices=sorted(PATHS), required=True, help="what the model does")
    add("--labels", default="", metavar="A,B", help="its labels, if its files do not say")
    add("--part", action="append", choices=sorted(PARTS), default=[], help="measure only this; may be repeated")
    add("--texts", type=Path, metavar="FILE", help="texts, one a line (default: made up, 16 to 64 tokens)")
    add("--threads", type=int, default=len(AVAILABLE_CPUS), metavar="N", help="threads (%(default)s)")
    add("--clients", type=int, default=64, metavar="N", help="clients at once (%(default)s)")
    add("--seconds", type=float, default=15.0, metavar="S", help="how long each load lasts (%(default)s)")
    add("--requests", type=int, default=10_000, metavar="N", help="requests of the memory test (%(default)s)")
    add("--timeout-ms", type=int, default=1000, metavar="MS", help="time of a request under overload (%(default)s)")
    add("--infinity", type=Path, metavar="PYTHON", help="measure infinity-emb too, installed for this interpreter")
    add("--infinity-model", type=Path, metavar="DIR", help="the same model.onnx with config.json and tokenizer")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = parser().parse_args(arguments)
    labels = tuple(filter(None, options.labels.split(",")))
    model = load(MODEL, options.folder, options.task, labels=labels)
    subject = Subject(model, options.task, _texts(options.texts), options)
    for part in options.part or PARTS:
        print(f"\n{part}", flush=True)
        uvloop.run(PARTS[part](subject))
    return 0


def _texts(file: Path | None) -> list[str]:
    """Read the lines of a file that are not empty; without a file, make texts up."""
    if file is not None:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    draw = random.Random(0)  # noqa: S311 - reproducible texts, nothing secret
    return [workload.text(draw.randint(_SHORTEST, _LONGEST) - 2, number) for number in range(1000)]


if __name__ == "__main__":
    sys.exit(main())
