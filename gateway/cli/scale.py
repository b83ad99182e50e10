"""``headgate scale``: fixes how many replicas a model of a running gateway has, or leaves it to the gateway again."""

from __future__ import annotations

import argparse
import sys

from gateway.cli.command import FAILED, Commands, add_command
from gateway.cli.control_port import add_option, ask

_EPILOG = """\
exit code: 0, or 1 if the gateway refuses or does not answer; then nothing has changed.

The number holds, whatever demand there is, until the configuration is reloaded, the gateway ends, or 'auto' is asked
for. A replica that is too many finishes what it has first. With 0 a model that has scaling.min = 0 loses all, until it
is asked again.

examples:
  headgate scale chat 3
  headgate scale chat auto
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "scale",
        _run,
        summary="fix how many replicas a model has while the gateway runs",
        description="Have a running gateway, asked at its control port, start or stop replicas of a model.",
        epilog=_EPILOG,
    )
    parser.add_argument("model", metavar="MODEL", help="a model whose engines the gateway starts")
    parser.add_argument(
        "replicas", metavar="N", type=_number, help="how many replicas; 'auto': as many as the configuration says"
    )
    add_option(parser)


def _number(text: str) -> int | None:
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor 'auto'") from None


def _run(options: argparse.Namespace) -> int:
    from urllib.parse import quote

    path = f"/models/{quote(options.model, safe='/')}/scale"
    status, answer = ask(options.control, "POST", path, {"replicas": options.replicas})
    if status != 200:
        print(f"headgate: {answer['reason']}", file=sys.stderr)
        return FAILED
    print(_outcome(options.model, answer["scaling"]))
    return 0


def _outcome(model: str, scaling: dict[str, object] | None) -> str:
    """Say how many replicas there are to be, and how many there are."""
    if scaling is None:
        return f"{model} has as many replicas as its configuration says."
    count = "1 replica" if scaling["desired"] == 1 else f"{scaling['desired']} replicas"
    what = f"{model} is to have {count} ({scaling['explanation']}); ready: {scaling['ready']}"
    waits_for = str(scaling["waits_for"]).removesuffix(".")
    return f"{what}. It waits for {waits_for}." if waits_for else f"{what}."
