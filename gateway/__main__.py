"""The command line: ``headgate serve``, ``check``, ``models``, ``quantize``, ``key`` and ``bench``."""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from engines.onnx.quantize.command import QUANTIZED, add_options, words

_DESCRIPTION = """\
Headgate is an inference gateway: one OpenAI-compatible address in front of vLLM, ONNX Runtime and remote engines.
"""

_EXAMPLES = """\
examples:
  headgate serve                                   start every model of ./models.toml, and serve on 127.0.0.1:8000
  headgate serve --config prod.toml --listen 0.0.0.0:8000
  headgate check prod.toml                         find every mistake in a configuration without starting anything
  headgate models --config prod.toml               fetch and convert the model files ahead of time
  headgate quantize guard --data prompts.csv       make int8 variants of an ONNX model, and promote what is good enough
  headgate key alice                               make an API key, and the entry for models.toml
  headgate bench --model smollm2-135m --rate 5     put load on a server and measure what its clients see
"""

_SERVE_EXAMPLES = """\
The gateway stays in the foreground. SIGTERM or Ctrl-C ends it gracefully: requests under way may finish (at most
gateway.drain_timeout seconds), then the engines are stopped. A second signal ends everything at once.

examples:
  headgate serve
  headgate serve --config prod.toml --listen 0.0.0.0:8000 --control 127.0.0.1:9000
  headgate serve --processes 4                     one address and one set of limits, on four cores
  curl http://127.0.0.1:9000/readyz                which models can answer, and why others cannot
"""

_QUANTIZE = """\
Make int8 variants of an ONNX model in a process of its own, which takes minutes. Speed, size, accuracy and the
influence of batch neighbours are measured on your texts and written into a model card. The best variant that passes
the gate is promoted into the folder `int8` beside the model's files; `variant = "int8"` in models.toml serves it.
"""

_QUANTIZE_EXAMPLES = """\
exit code: 0 if a variant was promoted, 3 if none passed the gate, 1 for a failure, 2 for a wrong configuration.

examples:
  headgate quantize guard --data prompts.csv
  headgate quantize minilm --data questions.csv --calibrate more.csv --max-accuracy-loss 1
"""

FAILED = 1
MISCONFIGURED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 for a failure, 2 for a wrong configuration or command line."""
    _open_standard_streams()
    options = _parser().parse_args(arguments)
    code: int = options.run(options)
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
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"headgate {importlib.metadata.version('headgate')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    serve = commands.add_parser(
        "serve",
        help="start the engines and the gateway, in the foreground",
        description="Start every model of a configuration and serve them all at one OpenAI-compatible address.",
        epilog=_SERVE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_config(serve)
    serve.add_argument("--listen", metavar="HOST:PORT", help="address for clients, instead of gateway.listen")
    serve.add_argument(
        "--control", metavar="HOST:PORT", help="address for probes and metrics, instead of gateway.control"
    )
    serve.add_argument(
        "--processes", type=_processes, metavar="N", help="take requests in N processes, instead of gateway.processes"
    )
    serve.set_defaults(run=_serve)

    check = commands.add_parser(
        "check",
        help="find every mistake in a configuration, without starting anything",
        description="Read a configuration and report every mistake in it, with file, line, key and what was expected.",
        epilog="exit code: 0 if all is well, 2 if not.  example:  headgate check models.toml",
    )
    check.add_argument("config", nargs="?", type=Path, default=Path("models.toml"), help="default: models.toml")
    check.set_defaults(run=_check)

    models = commands.add_parser(
        "models",
        help="fetch and convert model files ahead of time",
        description="Bring the files of every model into the cache, so that `headgate serve` finds them there.",
        epilog="example:  headgate models --config models.toml",
    )
    _add_config(models)
    models.set_defaults(run=_models)

    quantize = commands.add_parser(
        "quantize",
        help="make int8 variants of an ONNX model, measure them, and promote the best that passes the gate",
        description=_QUANTIZE,
        epilog=_QUANTIZE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    quantize.add_argument("model", metavar="MODEL", help="its name in the configuration")
    _add_config(quantize)
    add_options(quantize)
    quantize.set_defaults(run=_quantize)

    key = commands.add_parser(
        "key",
        help="make an API key",
        description="Make a random API key of 256 bits. It is shown once; models.toml holds its SHA-256 only.",
        epilog="example:  headgate key alice",
    )
    key.add_argument("id", metavar="ID", type=_key_id, help="what the access log calls the key")
    key.set_defaults(run=_key)

    # The load test reads its own options: with no character that marks one, all of them are passed on as they are.
    bench = commands.add_parser(
        "bench",
        help="put load on an OpenAI-compatible server and measure what its clients see",
        add_help=False,
        prefix_chars="\0",
    )
    bench.add_argument("rest", nargs=argparse.REMAINDER)
    bench.set_defaults(run=_bench)
    return parser


def _key_id(text: str) -> str:
    """Take an id that ``models.toml`` would take too."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 64 letters, digits, '.', '_' or '-'")
    return text


def _processes(text: str) -> int:
    """Take a number that ``gateway.processes`` would take too."""
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 64")
    return int(text)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, default=Path("models.toml"), metavar="FILE", help="configuration (default: models.toml)"
    )


def _serve(options: argparse.Namespace) -> int:
    from gateway.app import serve
    from gateway.config.load import load, overridden
    from gateway.config.problems import ConfigError
    from gateway.data_plane import StartError

    try:
        config = overridden(
            load(options.config), listen=options.listen, control=options.control, processes=options.processes
        )
    except ConfigError as error:
        print(error, file=sys.stderr)
        return MISCONFIGURED
    try:
        return serve(config)
    except StartError as error:
        print(f"headgate: {error}", file=sys.stderr)
        return FAILED


def _check(options: argparse.Namespace) -> int:
    from gateway.config.load import load
    from gateway.config.problems import ConfigError

    try:
        config = load(options.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return MISCONFIGURED
    print(f"{options.config} is valid: {', '.join(f'{name} ({m.engine})' for name, m in config.models.items())}")
    return 0


def _models(options: argparse.Namespace) -> int:
    from engines.errors import EngineError
    from engines.launchers import LAUNCHERS
    from gateway.config.load import load
    from gateway.config.problems import ConfigError
    from gateway.engine_specs import cache_of, specs_of

    try:
        config = load(options.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return MISCONFIGURED
    try:
        specs = specs_of(config)
    except EngineError as error:
        print(f"headgate: {error}", file=sys.stderr)
        return FAILED
    began = monotonic()
    failed = False
    for spec in specs:

        def tell(step: str, model: str = spec.model) -> None:
            print(f"[{monotonic() - began:6.1f} s] {model}: {step}", flush=True)

        try:
            tell(f"ready in {LAUNCHERS[spec.engine].prepare(spec, cache_of(config), tell)}")
        except EngineError as error:
            tell(f"failed: {error}")
            failed = True
    return FAILED if failed else 0


def _quantize(options: argparse.Namespace) -> int:

    import dataclasses

    import msgspec

    from engines.errors import EngineError
    from engines.launchers import LAUNCHERS
    from engines.onnx import command_line
    from gateway.config.load import load
    from gateway.config.problems import ConfigError
    from gateway.engine_specs import cache_of, specs_of

    try:
        config = load(options.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return MISCONFIGURED
    onnx = [name for name, model in config.models.items() if model.engine == "onnx"]
    if options.model not in onnx:
        known = f"its ONNX models are {', '.join(onnx)}" if onnx else "it has no ONNX models"
        print(f"headgate: {options.config} has no ONNX model {options.model!r}; {known}", file=sys.stderr)
        return MISCONFIGURED
    try:
        spec = next(spec for spec in specs_of(config) if spec.model == options.model)
        spec = dataclasses.replace(spec, onnx=msgspec.structs.replace(spec.onnx, variant=None))
        folder = LAUNCHERS[spec.engine].prepare(spec, cache_of(config), lambda step: print(f"{spec.model}: {step}"))
    except EngineError as error:
        print(f"headgate: {error}", file=sys.stderr)
        return FAILED
    command = [sys.executable, "-m", "engines.onnx.quantize", "--model-name", spec.model, "--folder", str(folder)]
    command += ["--task", spec.tasks[0], *command_line.words(spec.onnx, only=QUANTIZED), *words(options)]
    return subprocess.run(command, check=False).returncode


def _key(options: argparse.Namespace) -> int:
    secret = f"sk-{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(secret.encode()).hexdigest()
    print(f"The key, shown only now: {secret}\n\nFor a file of keys (gateway.keys_file):\n\n{options.id} {digest}")
    print(f'\nOr for models.toml:\n\n[[gateway.keys]]\nid = "{options.id}"\nsha256 = "{digest}"')
    return 0


def _bench(options: argparse.Namespace) -> int:
    from loadtest import cli

    return cli.main(options.rest, prog="headgate bench")


if __name__ == "__main__":
    raise SystemExit(main())
