"""``headgate bench``: puts load on a server; the load generator reads the command's options itself."""

from __future__ import annotations

import argparse

from gateway.cli.command import Commands


def add_to(commands: Commands) -> None:
    """Add the command. With no character that marks an option, all that follows is passed on as it is."""
    parser = commands.add_parser(
        "bench",
        help="put load on an OpenAI-compatible server and measure what its clients see",
        add_help=False,
        prefix_chars="\0",
    )
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from loadtest import cli

    return cli.main(options.rest, prog="headgate bench")
