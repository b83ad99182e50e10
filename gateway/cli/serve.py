"""``headgate serve``: starts the engines and the gateway, in the foreground."""

from __future__ import annotations

import argparse
import sys

from gateway.cli.command import FAILED, Commands, add_command, add_config

_EPILOG = """\
The gateway stays in the foreground. SIGTERM or Ctrl-C ends it gracefully: requests under way may finish (at most
gateway.drain_timeout seconds), then the engines are stopped. A second signal ends everything at once. SIGHUP, or a
change of the file's content, reloads the configuration: models, keys, limits and addresses change without a failed
request.

examples:
  headgate serve
  headgate serve --config prod.toml --listen 0.0.0.0:8000 --control 127.0.0.1:9000
  headgate serve --processes 4                     one address and one set of limits, on four cores
  curl http://127.0.0.1:9000/readyz                which models can answer, and why others cannot
  curl -X POST http://127.0.0.1:9000/reload        take over a changed configuration, or say what is wrong with it
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "serve",
        _run,
        summary="start the engines and the gateway, in the foreground",
        description="Start every model of a configuration and serve them all at one OpenAI-compatible address.",
        epilog=_EPILOG,
    )
    add_config(parser)
    parser.add_argument("--listen", metavar="HOST:PORT", help="address for clients, instead of gateway.listen")
    parser.add_argument(
        "--control", metavar="HOST:PORT", help="address for probes and metrics, instead of gateway.control"
    )
    parser.add_argument(
        "--processes", type=_processes, metavar="N", help="take requests in N processes, instead of gateway.processes"
    )


def _processes(text: str) -> int:
    """Take a number that ``gateway.processes`` would take too."""
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 64")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    from gateway.config.load import load, overridden
    from gateway.config.schema import Config
    from gateway.core.start_error import StartError
    from gateway.reload.reloader import ConfigSource
    from gateway.serve import serve

    def read() -> Config:
        return overridden(
            load(options.config), listen=options.listen, control=options.control, processes=options.processes
        )

    try:
        return serve(ConfigSource(read, (options.config,)))
    except StartError as error:
        print(f"headgate: {error}", file=sys.stderr)
        return FAILED
