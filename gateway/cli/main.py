"""Reads a command line and runs its command."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence

from engines.errors import EngineError
from gateway.cli import adapter, bench, check, jobs, key, models, probe, quantize, scale, serve, suggest, tune
from gateway.cli.command import FAILED, INTERRUPTED, MISCONFIGURED
from gateway.config.problems import ConfigError

_DESCRIPTION = """\
Headgate is an inference gateway: one OpenAI-compatible address in front of vLLM, ONNX Runtime and remote engines.
"""

_EPILOG = """\
examples:
  headgate serve                                   start every model of ./models.toml, and serve on 127.0.0.1:8000
  headgate serve --config prod.toml --listen 0.0.0.0:8000
  headgate check prod.toml                         find every mistake in a configuration without starting anything
  headgate models --config prod.toml               fetch and convert the model files ahead of time
  headgate quantize guard --data prompts.csv       make int8 variants of an ONNX model, and promote what is good enough
  headgate tune minilm --data reviews.jsonl        fine-tune a model on examples, and serve what comes of it
  headgate jobs                                    list fine-tuning jobs
  headgate probe guard --data prompts.jsonl        measure a served classifier on typos, other case, padding, injections
  headgate suggest guard --data texts.jsonl        say which texts to label next for a served classifier
  headgate key alice                               make an API key, and the entry for models.toml
  headgate adapter load sql ./sql --base chat      load a LoRA adapter while the gateway runs
  headgate scale chat 3                            fix how many replicas a model has, until the next reload
  headgate bench --model smollm2-135m --rate 5     put load on a server and measure what its clients see
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    It is 0, 1 for a failure, 2 for a wrong configuration or command line, or 130 for an interrupt.
    """
    _open_standard_streams()
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        print(end="", flush=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who reads the output has seen enough of it; the rest is thrown away, or it would be tried again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except ConfigError as error:
        print(error, file=sys.stderr)
        return MISCONFIGURED
    except EngineError as error:
        print(f"headgate: {error}", file=sys.stderr)
        return FAILED
    return code


def _open_standard_streams() -> None:
    """Let nothing else get the number of a standard stream that was closed, and be written into in its place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headgate",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"headgate {importlib.metadata.version('headgate')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (serve, check, models, quantize, suggest, probe, tune, jobs, key, adapter, scale, bench):
        command.add_to(commands)
    return parser
