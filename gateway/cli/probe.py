"""``headgate probe``: measures how robust classifiers are that a running gateway serves."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway.cli.command import FAILED, MISCONFIGURED, Commands, add_command, add_gateway, count

_DESCRIPTION = """\
Measure how robust a classifier is that a running gateway serves: its accuracy on labelled texts as they are written,
and with typos, in upper and lower case, with synonyms from a short list, between neutral sentences, and with an
instruction appended that should not matter. The same seed gives the same texts. Several classifiers are measured on
the same texts and stand side by side.
"""

_EPILOG = """\
exit code: 0, 1 if the gateway does not answer as it should, 2 for wrong data or a wrong command line.

examples:
  headgate probe guard --data prompts.jsonl
  headgate probe guard --data prompts.jsonl --json robustness.json --svg robustness.svg
  headgate probe ft:minilm:me:plain:1f0c2a9b ft:minilm:me:typos:7b1d44e0 --data held-out.jsonl
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "probe",
        _run,
        summary="measure a served classifier on typos, other case, synonyms, padding and injections",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("models", nargs="+", metavar="MODEL", help="a classifier, as clients name it; several are compared")
    add("--data", type=Path, required=True, metavar="FILE", help='JSON lines {"text": "…", "label": "…"}')
    add_gateway(parser)
    add("--seed", type=int, default=0, metavar="N", help="seed of everything random (default: %(default)s)")
    add("--max-texts", type=count, default=1000, metavar="N", help="texts at most, drawn evenly (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the results as JSON: an object, or a list of several")
    add("--svg", type=Path, metavar="FILE", help="write a plot for a model card")


def _run(options: argparse.Namespace) -> int:
    import asyncio

    import msgspec

    from loadtest import labelled
    from loadtest.probe import report
    from loadtest.probe.measure import Result, probe
    from loadtest.served_models import AskError, served_at

    async def measured(examples: list[labelled.Example]) -> list[Result]:
        async with served_at(options.url, options.key) as served:
            return await probe(served, [*dict.fromkeys(options.models)], options.data, examples, options.seed)

    try:
        results = asyncio.run(measured(labelled.read_labelled(options.data, options.max_texts)))
        if options.json is not None:
            found = results[0] if len(results) == 1 else results
            options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
        if options.svg is not None:
            options.svg.write_text(report.plot(results), encoding="utf-8")
    except labelled.DataError as error:
        print(f"headgate: {error}", file=sys.stderr)
        return MISCONFIGURED
    except (AskError, OSError) as error:
        print(f"headgate: {error}", file=sys.stderr)
        return FAILED
    print(report.table(results))
    return 0
