"""``headgate quantize``: makes int8 variants of an ONNX model, as a process of ``engines.onnx.quantize``."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace

from engines.onnx.quantize.command import QUANTIZED, QUANTIZED_TASKS, add_options, words
from gateway.cli.command import MISCONFIGURED, Commands, add_command, add_config

_DESCRIPTION = """\
Make int8 variants of an ONNX model, which takes minutes. Speed, size, accuracy and the influence of batch neighbours
are measured on your texts and written into a model card. The best variant that passes the gate is promoted into the
folder `int8` beside the model's files; `variant = "int8"` in models.toml serves it.
"""

_EPILOG = """\
exit code: 0 if a variant was promoted, 3 if none passed the gate, 1 for a failure, 2 for a wrong configuration.

examples:
  headgate quantize guard --data prompts.csv
  headgate quantize minilm --data questions.csv --calibrate more.csv --max-accuracy-loss 1
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "quantize",
        _run,
        summary="make int8 variants of an ONNX model, measure them, and promote the best that passes the gate",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("model", metavar="MODEL", help="its name in the configuration")
    add_config(parser)
    add_options(parser)


def _run(options: argparse.Namespace) -> int:
    import msgspec

    from engines.launchers import LAUNCHERS
    from engines.onnx import command_line
    from engines.processes.gpus import available
    from gateway.config.load import load
    from gateway.fleet.engine_specs import cache_of, specs_of

    config = load(options.config)
    onnx = [name for name, model in config.models.items() if model.engine == "onnx"]
    if options.model not in onnx:
        known = f"its ONNX models are {', '.join(onnx)}" if onnx else "it has no ONNX models"
        print(f"headgate: {options.config} has no ONNX model {options.model!r}; {known}", file=sys.stderr)
        return MISCONFIGURED
    spec = next(spec for spec in specs_of(config, len(available())) if spec.model == options.model)
    # What is quantized is the model itself, also where one of its variants is served.
    spec = replace(spec, onnx=msgspec.structs.replace(spec.onnx, variant=None))
    if spec.tasks[0] not in QUANTIZED_TASKS:
        takes = " or ".join(QUANTIZED_TASKS)
        print(f"headgate: {options.model} has the task {spec.tasks[0]}; expected {takes}", file=sys.stderr)
        return MISCONFIGURED
    folder = LAUNCHERS[spec.engine].prepare(spec, cache_of(config), lambda step: print(f"{spec.model}: {step}"))
    command = [sys.executable, "-m", "engines.onnx.quantize", "--model-name", spec.model, "--folder", str(folder)]
    command += ["--task", spec.tasks[0], *command_line.words(spec.onnx, only=QUANTIZED), *words(options)]
    sys.stdout.flush()
    # This process becomes the other one, so that a signal that ends it ends the work as well.
    return os.execv(command[0], command)  # noqa: S606 - no shell is wanted
