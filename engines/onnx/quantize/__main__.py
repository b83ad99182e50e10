"""Makes int8 variants of one model, measures them, and promotes the best of those that pass the gate."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.util
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from engines.files.int8_variant import CARD, INT8, REFUSED, digest
from engines.onnx import command_line
from engines.onnx.errors import InferenceFailed, ModelError
from engines.onnx.model.folder import ModelFolder
from engines.onnx.quantize.command import QUANTIZED, QUANTIZED_TASKS, add_options, gate_of
from engines.onnx.quantize.texts import DataError, Text, read, split

_DESCRIPTION = """\
Make int8 variants of an ONNX model, measure speed, size, accuracy and how much an answer depends on its neighbours in a
batch, and promote the best of those that pass the gate: into the folder `int8` beside the model's files, with a card.
Nothing is promoted if none passes; the card then goes into `int8-refused`, and what was promoted before stays.
"""

REFUSED_CODE = 3
_FILES = ("tokenizer.json", "tokenizer_config.json", "config.json", "sentence_bert_config.json", "modules.json")
_FOLDERS = ("1_Pooling",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; gives 0 when a variant was promoted, 3 when none passed, 1 for a failure, 2 for a wrong line."""
    options = _parser().parse_args(arguments)
    if importlib.util.find_spec("onnx") is None:
        print("error: quantization needs the package onnx: pip install onnx", file=sys.stderr)
        return 1
    try:
        return _quantize(options)
    except (ModelError, InferenceFailed, DataError, OSError) as error:
        print(f"error: {options.model_name}: {error}", file=sys.stderr)
        return 1


def _quantize(options: argparse.Namespace) -> int:
    # These bring the package onnx, whose absence is told above.
    from engines.onnx.model.model import load
    from engines.onnx.quantize.card import Card, machine
    from engines.onnx.quantize.measure import ROUNDS, Classes, Neighbourhood, Sample, measure
    from engines.onnx.quantize.variants import VARIANTS

    start = time.monotonic()

    def tell(step: str) -> None:
        print(f"[{time.monotonic() - start:6.1f} s] {options.model_name}: {step}", flush=True)

    folder: Path = options.folder
    onnx = command_line.options_in(options)
    gate = gate_of(options)
    names = [file.name for file in options.data]
    files = {
        file.name if names.count(file.name) == 1 else str(file): read(file, options.max_texts) for file in options.data
    }
    tell(f"{sum(map(len, files.values()))} texts from {', '.join(files)}")
    chosen = split(
        [text for texts in files.values() for text in texts],
        [text for file in options.calibrate for text in read(file, options.max_texts)],
    )
    load_as_told = partial(load, task=options.task, labels=onnx.labels, output=onnx.output)
    model = load_as_told(options.model_name, folder, max_length=onnx.max_length)
    limit = model.tokenizer.max_length
    labels = onnx.labels or ModelFolder(folder).labels
    if options.task == "classify" and not labels:
        raise DataError("the names of the classes are not known; give --labels")
    ids = _Ids(folder, limit)
    with tempfile.TemporaryDirectory(prefix=".quantizing-", dir=folder) as temporary:
        folders = {"float32": folder}
        models = {"float32": model}
        feeds = [model.session.feed([ids.of(text)])[0] for text in chosen.calibration]
        for name in dict.fromkeys(options.variants):
            tell(f"{name}: making it")
            folders[name] = Path(temporary) / name
            _copy_files(folder, folders[name])
            VARIANTS[name](folder / "model.onnx", folders[name] / "model.onnx", feeds)
            models[name] = load_as_told(name, folders[name], max_length=limit)
        counts = set(labels) if options.task == "classify" else None
        known = [text.label if counts is None or text.label in counts else None for text in chosen.measured]
        sample = Sample([ids.of(text) for text in chosen.measured], known)
        reading = Classes(labels) if options.task == "classify" else Neighbourhood(known)
        found = measure(
            models,
            folders,
            sample,
            reading,
            max_length=limit,
            max_mixed=options.max_mixed,
            threads=options.threads,
            progress=tell,
        )
        best = gate.choose(found[1:])
        card = Card(
            name=options.model_name,
            task=options.task,
            made=dt.datetime.now(dt.UTC).date().isoformat(),
            source=digest(folder),
            graph=digest(folders[best.name]) if best else None,
            machine=machine(),
            data=_told(files, chosen.measured, counts),
            calibration=len(chosen.calibration),
            gate=gate,
            model=found[0],
            variants=found[1:],
            promoted=best.name if best else None,
            mixed=options.max_mixed,
            rounds=ROUNDS,
        )
        for each in found[1:]:
            tell(f"{each.name}: {'; '.join(gate.failures(each)) or 'passes the gate'}")
        result = folders[best.name] if best else Path(temporary) / "refused"
        result.mkdir(exist_ok=True)
        card.write(result / CARD)
        if options.card is not None:
            card.write(options.card)
        place = folder / (INT8 if best else REFUSED)
        _put(result, place)
    tell(f"{best.name} is promoted, see {place / CARD}.md" if best else f"nothing is promoted, see {place / CARD}.md")
    return 0 if best else REFUSED_CODE


class _Ids:
    """The model's tokenizer, cutting what is longer than the model takes."""

    def __init__(self, folder: Path, limit: int) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(limit)

    def of(self, text: Text) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text.text).ids
        return ids


def _copy_files(source: Path, target: Path) -> None:
    """Copy everything of a model's folder but its weights."""
    target.mkdir()
    for name in _FILES:
        if (source / name).exists():
            shutil.copy2(source / name, target / name)
    for name in _FOLDERS:
        if (source / name).exists():
            shutil.copytree(source / name, target / name)


def _put(result: Path, place: Path) -> None:
    """Put a folder into its place in one step, and remove what was there."""
    old = result.with_name("old")
    if place.exists():
        place.rename(old)
    try:
        result.rename(place)
    except OSError:
        if old.exists():
            old.rename(place)
        raise


def _told(files: dict[str, list[Text]], measured: list[Text], counts: set[str] | None) -> dict[str, tuple[int, int]]:
    """Say how many texts of each file were measured, and how many of these have a label that counts."""
    kept = set(measured)
    told = {}
    for name, texts in files.items():
        here = [text for text in texts if text in kept]
        known = [text for text in here if text.label is not None and (counts is None or text.label in counts)]
        told[name] = (len(here), len(known))
    return told


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m engines.onnx.quantize",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model-name", required=True, metavar="NAME", help="what the card calls the model")
    add("--folder", required=True, type=Path, metavar="DIR", help="where the model's files are")
    add("--task", required=True, choices=QUANTIZED_TASKS, help="what the model does")
    command_line.add_options(parser, only=QUANTIZED)
    add_options(parser)
    return parser


if __name__ == "__main__":
    # ONNX Runtime's warnings concern the authors of variants, not their users.
    logging.basicConfig(level=logging.ERROR)
    # The threads are ours to count.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # What is unfinished is removed on the way out.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
