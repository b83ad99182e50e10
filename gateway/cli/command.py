"""What the commands share: how one is added, the option that names the configuration, and exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

FAILED = 1
MISCONFIGURED = 2

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


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the configuration."""
    parser.add_argument(
        "--config", type=Path, default=CONFIG, metavar="FILE", help="configuration (default: %(default)s)"
    )
