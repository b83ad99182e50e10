"""What the commands share: how one is added, the option that names the configuration, and exit codes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

FAILED = 1
MISCONFIGURED = 2
INTERRUPTED = 130

CONFIG = Path("models.toml")
"""The configuration, unless another is named."""

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no public name
"""What ``ArgumentParser.add_subparsers`` returns."""

Run = Callable[[argparse.Namespace], int]
"""Runs a command and returns its exit code. Raises ``ConfigError`` or ``EngineError``."""


def add_command(
    commands: Commands, name: str, run: Run, *, summary: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    """Add a command. Description and epilog are shown with the lines that they have."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_gateway(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a gateway that runs, and the key for it."""
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the gateway (default: %(default)s)")
    parser.add_argument(
        "--key-env", dest="key", type=_key, metavar="NAME", help="environment variable that holds the API key"
    )


def count(value: str) -> int:
    """Read a whole number from 1, for ``argparse``."""
    if not value.isdecimal() or not int(value):
        raise argparse.ArgumentTypeError(f"{value} is not a whole number from 1")
    return int(value)


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the configuration."""
    parser.add_argument(
        "--config", type=Path, default=CONFIG, metavar="FILE", help="configuration (default: %(default)s)"
    )


def _key(variable: str) -> str:
    key = os.environ.get(variable)
    if not key:
        raise argparse.ArgumentTypeError(f"there is no environment variable {variable}, or it is empty")
    return key
