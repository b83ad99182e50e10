"""``headgate adapter``: lists, loads and unloads LoRA adapters of a gateway that runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway.cli.command import FAILED, Commands, add_command
from gateway.cli.control_port import add_option, ask

_EPILOG = """\
exit code: 0, or 1 if the gateway refuses or does not answer; then nothing has changed.

What is loaded and unloaded here holds until the gateway ends. To have an adapter from the start, name it in the
table [models.BASE.adapters] of models.toml.

examples:
  headgate adapter list
  headgate adapter load chat-sql adapters/sql --base chat
  headgate adapter unload chat-sql
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "adapter",
        _run,
        summary="list, load and unload LoRA adapters while the gateway runs",
        description="Ask a running gateway, at its control port, for its LoRA adapters, or to change them.",
        epilog=_EPILOG,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    listing = actions.add_parser("list", help="show all adapters, with their state at each replica")
    loading = actions.add_parser("load", help="load an adapter into all replicas of its base model")
    loading.add_argument("name", metavar="NAME", help="what clients will ask for")
    loading.add_argument(
        "source", metavar="FOLDER", help="the adapter, as PEFT saves it; of a remote model, where its engines find it"
    )
    loading.add_argument("--base", required=True, metavar="MODEL", help="the model that it is an adapter of")
    unloading = actions.add_parser("unload", help="unload an adapter from all replicas")
    unloading.add_argument("name", metavar="NAME", help="the adapter")
    for action in (listing, loading, unloading):
        add_option(action)


def _run(options: argparse.Namespace) -> int:
    from urllib.parse import quote

    match options.action:
        case "list":
            status, answer = ask(options.control, "GET", "/adapters")
        case "load":
            # The gateway may have been started in another folder; what is not here is taken for a path of its engines.
            folder = Path(options.source)
            source = str(folder.absolute()) if folder.is_dir() else options.source
            order = {"name": options.name, "base": options.base, "source": source}
            status, answer = ask(options.control, "POST", "/adapters", order)
        case _:
            status, answer = ask(options.control, "DELETE", f"/adapters/{quote(options.name, safe='/')}")
    if status != 200:
        print(f"headgate: {answer['reason']}", file=sys.stderr)
        return FAILED
    if options.action == "list":
        if not answer["adapters"]:
            print("There is no adapter.")
        for adapter in answer["adapters"]:
            print(f"{adapter['name']}  of {adapter['base']}, from {adapter['source']}")
            for replica in adapter["replicas"]:
                reason = f": {replica['reason']}" if replica["reason"] else ""
                print(f"  {replica['name']}  {replica['state']}{reason}")
    else:
        print(f"{options.name} is {answer['status']}.")
    return 0
