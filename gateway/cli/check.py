"""``headgate check``: finds every mistake in a configuration."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.command import CONFIG, Commands, add_command
from gateway.config.problems import ConfigError, Problem
from gateway.core.start_error import StartError

if TYPE_CHECKING:
    from gateway.config.schema import Config

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
    if config.gateway.tls_certificate is not None:
        _check_certificate(options.config, config)
    print(f"{options.config} is valid: {', '.join(f'{name} ({m.engine})' for name, m in config.models.items())}")
    return 0


def _check_certificate(file: Path, config: Config) -> None:
    """Read the certificate and its key as ``headgate serve`` does. Raises ``ConfigError``."""
    from gateway.data_plane import tls_of

    try:
        tls_of(config)
    except StartError as error:
        raise ConfigError([Problem(file, "", str(error))]) from None
