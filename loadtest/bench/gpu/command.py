"""The part ``gpu`` on the benchmark's command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from loadtest.bench.gpu.calibrate import calibrate
from loadtest.bench.gpu.engine import check_gpu, started
from loadtest.bench.gpu.measure import GpuSettings, compare
from loadtest.bench.gpu.shapes import SHAPES, Argument
from loadtest.bench.gpu.turn import Lengths

_SMOKE = GpuSettings(
    shape=SHAPES["135m"],
    streams=(1, 2),
    knee=False,
    lengths=Lengths(prompt=8, response=4),
    seconds=0.1,
    rounds=1,
    idle_seconds=0.1,
)


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of this part alone."""
    group = command.add_argument_group("part gpu")
    default = GpuSettings(shape=SHAPES["8b"])
    group.add_argument(
        "--shape", choices=SHAPES, default=default.shape.name, help="size of the model; 135m needs no GPU (%(default)s)"
    )
    group.add_argument(
        "--streams",
        type=_positive,
        nargs="+",
        default=list(default.streams),
        metavar="N",
        help=f"so many at once, and as many as the engine's knee ({' '.join(map(str, default.streams))})",
    )
    group.add_argument("--no-knee", dest="knee", action="store_false", help="only with --streams at once")
    for name, number, what in (
        ("--input-tokens", default.lengths.prompt, "prompt"),
        ("--output-tokens", default.lengths.response, "response"),
    ):
        group.add_argument(
            name, type=_positive, default=number, metavar="N", help=f"length of each {what} (%(default)s)"
        )
    group.add_argument(
        "--engine-arg",
        action="append",
        type=_argument,
        default=[],
        metavar="NAME[=VALUE]",
        help="another option of vLLM, or another value than the shape's; may be repeated",
    )
    group.add_argument(
        "--calibrate",
        type=Path,
        metavar="FILE",
        help="fit the simulator's costs to the engine, too, and write what was measured into this file",
    )


def settings(options: argparse.Namespace) -> GpuSettings:
    """Return what the options ask for. Raises ``ValueError`` where that cannot be."""
    if options.smoke:
        return _SMOKE
    shape = SHAPES[options.shape].with_args(dict(options.engine_arg))
    lengths = Lengths(prompt=options.input_tokens, response=options.output_tokens)
    if lengths.prompt + lengths.response > shape.max_model_len:
        raise ValueError(
            f"--input-tokens {lengths.prompt} and --output-tokens {lengths.response} are more than the "
            f"{shape.max_model_len} tokens that the shape {shape.name} can have"
        )
    if options.calibrate is not None and not options.calibrate.absolute().parent.is_dir():
        raise ValueError(f"--calibrate {options.calibrate}: there is no such folder")
    return GpuSettings(
        shape=shape,
        streams=options.streams,
        knee=options.knee,
        lengths=lengths,
        seconds=options.seconds,
        rounds=options.rounds,
    )


async def measure(options: argparse.Namespace, log: Callable[[str], None]) -> dict[str, Any]:
    """Start the engine behind a gateway and measure it.

    Raises ``NoGpu``, ``GpuError``, ``DidNotStart`` and ``NothingMeasured``.
    """
    wanted = settings(options)
    check_gpu(wanted.shape)
    log(f"gpu: starting vLLM with a model of the shape {wanted.shape.name}")
    async with started(wanted.shape) as target:
        found = await compare(target, wanted, log)
        if options.calibrate is not None:
            try:
                fitted = await calibrate(target, wanted.shape, log)
            except RuntimeError as error:
                # What has been measured before is kept.
                log(f"gpu: not calibrated: {error}")
                return {**found, "failed": 1}
            options.calibrate.write_bytes(msgspec.json.format(msgspec.json.encode(fitted)) + b"\n")
            log(f"wrote {options.calibrate}")
    return found


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _argument(text: str) -> tuple[str, Argument]:
    """Read ``NAME=VALUE``, or ``NAME`` for a flag."""
    name, given, value = text.removeprefix("--").partition("=")
    if not name.replace("-", "").isalnum():
        raise argparse.ArgumentTypeError(f"{text!r} is no option of vLLM: expected NAME=VALUE, or NAME for a flag")
    return name, value if given else True
