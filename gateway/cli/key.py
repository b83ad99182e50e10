"""``headgate key``: makes an API key."""

from __future__ import annotations

import argparse
import hashlib
import re
import secrets

from gateway.cli.command import Commands, add_command

_EPILOG = """\
examples:
  headgate key alice
  headgate key bob --group research     a key of the group [gateway.groups.research]
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "key",
        _run,
        summary="make an API key",
        description="Make a random API key of 256 bits. It is shown once; models.toml holds its SHA-256 only.",
        epilog=_EPILOG,
    )
    parser.add_argument("id", metavar="ID", type=_key_id, help="what the access log calls the key")
    parser.add_argument(
        "--group", type=_key_id, help="the group of models.toml whose restrictions and limits hold for the key too"
    )


def _key_id(text: str) -> str:
    """Take an id, or the name of a group, that ``models.toml`` would take too."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 64 letters, digits, '.', '_' or '-'")
    return text


def _run(options: argparse.Namespace) -> int:
    secret = f"sk-{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(secret.encode()).hexdigest()
    word, option = (f" group={options.group}", f'\ngroup = "{options.group}"') if options.group else ("", "")
    print(f"The key, shown only now: {secret}\n\nFor a file of keys (gateway.keys_file):\n")
    print(f"{options.id} {digest}{word}")
    print(f'\nOr for models.toml:\n\n[[gateway.keys]]\nid = "{options.id}"\nsha256 = "{digest}"{option}')
    return 0
