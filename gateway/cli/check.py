"""``headgate check``: finds every mistake in a configuration."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.cli.command import CONFIG, Commands, add_command

_DESCRIPTION = """\
Read a configuration and report every mistake in it, with file, line, key and what was expected. Nothing is started.
"""

_EPILOG = """\
exit code: 0 if the configuration is valid, 2 if not.

example:
  headgate check models.toml
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "check",
        _run,
        summary="find every mistake in a configuration, without starting anything",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("config", nargs="?", type=Path, default=CONFIG, help="default: %(default)s")


def _run(options: argparse.Namespace) -> int:
    from gateway.config.load import load

    config = load(options.config)
    print(f"{options.config} is valid: {', '.join(f'{name} ({m.engine})' for name, m in config.models.items())}")
    return 0
