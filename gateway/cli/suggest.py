"""``headgate suggest``: says which texts of a file to label next."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway.cli.command import FAILED, MISCONFIGURED, Commands, add_command, add_gateway, count

_MOST_TEXTS = 10_000
_MOST_CHOSEN = 1000

_DESCRIPTION = """\
Say which texts of a file to label next for a classifier that a running gateway serves: those that the classifier is
unsure of, and that are unlike each other as a served embedder sees them. They are written as JSON lines, the most
useful one first. Lines that have a label already are passed over. Without a classifier, as at the very beginning,
texts are chosen to be unlike each other.
"""

_EPILOG = """\
exit code: 0, 1 if the gateway does not answer as it should, 2 for wrong data or a wrong command line.

examples:
  headgate suggest guard --data unlabelled.jsonl --count 50 > to-label.jsonl
  headgate suggest --data unlabelled.jsonl --count 100 > to-label.jsonl      there is no classifier yet
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "suggest",
        _run,
        summary="say which texts to label next for a served classifier",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", nargs="?", help="the classifier, as clients name it")
    add("--data", type=Path, required=True, metavar="FILE", help='JSON lines {"text": "…"}')
    add("--embedder", default="minilm", metavar="MODEL", help="an ONNX model that embeds (default: %(default)s)")
    add("--count", type=_chosen, default=50, metavar="N", help="how many texts to choose (default: %(default)s)")
    add(
        "--max-texts",
        type=_looked_at,
        default=_MOST_TEXTS,
        metavar="N",
        help="how many texts to look at, drawn evenly if there are more (default and most: %(default)s)",
    )
    add_gateway(parser)


def _chosen(value: str) -> int:
    return _at_most(value, _MOST_CHOSEN)


def _looked_at(value: str) -> int:
    return _at_most(value, _MOST_TEXTS)


def _at_most(value: str, most: int) -> int:
    number = count(value)
    if number > most:
        raise argparse.ArgumentTypeError(f"{value} is more than {most}")
    return number


def _run(options: argparse.Namespace) -> int:
    import asyncio

    import msgspec

    from loadtest import labelled
    from loadtest.served_models import AskError, served_at
    from loadtest.suggest import Suggestion, suggest

    async def chosen(examples: list[labelled.Example]) -> list[Suggestion]:
        async with served_at(options.url, options.key) as models:
            return await suggest(models, options.model, options.embedder, examples, options.count)

    try:
        found = asyncio.run(chosen(labelled.read_unlabelled(options.data, options.max_texts)))
    except labelled.DataError as error:
        print(f"headgate: {error}", file=sys.stderr)
        return MISCONFIGURED
    except AskError as error:
        print(f"headgate: {error}", file=sys.stderr)
        return FAILED
    for suggestion in found:
        print(msgspec.json.encode(suggestion).decode())
    return 0
