"""Has the int8 variant of a trained classifier made and measured by ``engines.onnx.quantize``, behind its gate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engines.files.int8_variant import CARD, INT8, REFUSED
from engines.onnx.quantize.__main__ import REFUSED_CODE
from engines.processes.shim_command import run
from engines.train.classifier.prepare import Prepared
from engines.train.errors import JobError
from engines.train.examples import Example

_VARIANT = "per-token"
"""The variant whose answers differ least from the model's, and depend on no neighbours."""

_LEAST_SPEEDUP = 1.2
"""Less than the gate asks elsewhere: without VNNI a variant of a quarter of the size is 1.5 times as fast."""

_MEASURED = 300
_MOST_MEASURED = 1000
_MOST_CHARACTERS = 100_000
"""Of validation texts more than ``_MEASURED`` are compared, up to so many with so many characters in all: the gate
allows half a point, and one of 300 texts would be a third of a point."""

_CALIBRATED = 20
"""The variant needs no calibration; a few texts stand for those that others would need."""


class _Variant(msgspec.Struct, frozen=True):
    """What matters here of a measured variant; the units are those of ``engines.onnx.quantize.gate.Measured``."""

    name: str
    size: float
    speedup: float
    accuracy_loss: float
    flips: float


class _Card(msgspec.Struct, frozen=True):
    variants: list[_Variant]


@dataclass(frozen=True, slots=True)
class Int8:
    """What became of the variant: ``speedup`` and ``size`` are ratios, ``accuracy_loss`` points, ``flips`` percent."""

    promoted: bool
    speedup: float
    size: float
    accuracy_loss: float
    flips: float


def measured_with(data: Prepared) -> list[Example]:
    """Choose what is measured with: validation texts, as many as are not too long, and others where these are few."""
    chosen = [*data.validation, *data.training][:_MEASURED]
    characters = sum(len(example.text) for example in chosen)
    for example in data.validation[_MEASURED:_MOST_MEASURED]:
        characters += len(example.text)
        if characters > _MOST_CHARACTERS:
            break
        chosen.append(example)
    return chosen


def quantize(name: str, folder: Path, data: Prepared, max_length: int, threads: int) -> Int8:
    """Make and measure the variant of a folder's model. Raises ``JobError`` where that itself fails."""
    measured = folder.with_name("measured.jsonl")
    calibration = folder.with_name("calibration.jsonl")
    texts = measured_with(data)
    _write(measured, texts, labelled=not data.multi_label)
    _write(calibration, data.training[-_CALIBRATED:], labelled=False)
    command = [sys.executable, "-m", "engines.onnx.quantize", "--model-name", name, "--folder", str(folder)]
    command += ["--task", "classify", "--data", str(measured), "--calibrate", str(calibration)]
    command += ["--variants", _VARIANT, "--max-length", str(max_length), "--max-texts", str(len(texts))]
    command += ["--max-mixed", str(_MEASURED), "--min-speedup", str(_LEAST_SPEEDUP), "--threads", str(threads)]
    done = run(command)
    measured.unlink()
    calibration.unlink()
    if done.returncode not in (0, REFUSED_CODE):
        raise JobError("quantization_failed", f"The int8 variant cannot be made: {done.stderr.strip()[-500:]}")
    promoted = done.returncode == 0
    file = folder / (INT8 if promoted else REFUSED) / f"{CARD}.json"
    found = msgspec.json.decode(file.read_bytes(), type=_Card).variants[0]
    return Int8(promoted, found.speedup, found.size, found.accuracy_loss, found.flips)


def _write(file: Path, examples: Sequence[Example], *, labelled: bool) -> None:
    lines = [
        msgspec.json.encode({"text": each.text} | ({"label": each.labels[0]} if labelled else {})) for each in examples
    ]
    file.write_bytes(b"\n".join(lines) + b"\n")
