"""The options of the load test, and what their values may be."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gateway.http.address import Address
from loadtest.compare import Target
from loadtest.load import TIMEOUT
from loadtest.mix import MixError, mix, weights
from loadtest.option_values import count, integer, number, positive
from loadtest.summary import OF_STREAMS, SLOS
from loadtest.workload import STREAMED, WORKLOADS

_T = TypeVar("_T")

_MOST_REQUESTS = 10_000_000
"""Of one test or step: each is planned beforehand and recorded, all in memory."""

_MOST_CLIENTS = 65_535
"""How many ports there are, one for each connection to an address."""

_EXAMPLES = """\
examples:
  {prog} --model smollm2-135m --rate 5 --seconds 60
      five requests a second like those of independent users, whatever the responses do
  {prog} --model smollm2-135m --clients 8 --unary
      eight clients, each of which sends its next request when it has the whole response
  {prog} --model smollm2-135m --ramp --slo ttft=500 --slo tpot=100
      the highest rate at which 95 % of the requests meet both objectives
  {prog} --rate 20 --mix chat=6,embeddings=3,classify=1 \\
      --model chat=smollm2-135m --model embeddings=minilm --model classify=prompt-guard
      three kinds of requests, each of a model of its own
  {prog} --model smollm2-135m --trace conversation.jsonl --limit 500 --scale 0.5
      recorded traffic, at twice its speed
  {prog} --model smollm2-135m --rate 5 --metrics http://127.0.0.1:9000 --save out.json --report out.html
      all results as JSON, and a page with plots, the gateway's queue among them
  {prog} compare --help
      several addresses under the same load, in turns

An open-loop test (--rate, --ramp, --trace) sends at moments that are drawn beforehand; its lateness says whether the
client kept up. A closed-loop test (--clients) sends the next request when a response is complete. Ctrl-C ends a test
early, with the results so far.
exit code: 0, 1 if no request was answered (or no rate met the objectives), 2 if the test cannot begin or its results
cannot be written.
"""

_COMPARE_EXAMPLES = """\
examples:
  {prog} --model sim --rate 50 --target direct=http://127.0.0.1:8001 --target headgate=http://127.0.0.1:8000
      what the gateway adds to the engine's own times
  {prog} --model sim --clients 32 --unary --rounds 7 --seconds 5 \\
      --target direct=http://127.0.0.1:8001 --target headgate=http://127.0.0.1:8000 --target nginx=http://127.0.0.1:8080

Each round puts the same load (same moments, same lengths, other words) on one target after the other. Ratios are taken
within a round, against the first target, because machines are noisier from minute to minute than within one.
"""


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of a test."""
    command = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} --model NAME (--rate R | --clients N | --trace FILE | --ramp) [options]",
        description="Put load on an OpenAI-compatible server and measure what its clients see.",
        epilog=_EXAMPLES.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    asked = command.add_argument_group("what is asked")
    asked.add_argument(
        "--url", type=_said(_url), default="http://127.0.0.1:8000", help="address of the server (%(default)s)"
    )
    _add_asked(asked)
    when, how = _add_arrivals(command, seconds=30.0)
    how.add_argument(
        "--ramp",
        type=positive,
        nargs="?",
        const=1.0,
        metavar="R",
        help="open loop: find the highest rate that meets every --slo, starting with R per second (1)",
    )
    when.add_argument(
        "--attainment", type=_share, metavar="P", help="share of requests that have to meet them, for --ramp (0.95)"
    )
    results = _add_results(command)
    results.add_argument(
        "--metrics", type=_said(_url), metavar="URL", help="where the server shows its queue, for the report's timeline"
    )
    return command


def compare_parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of a comparison."""
    command = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} --model NAME --target NAME=URL … (--rate R | --clients N | --trace FILE) [options]",
        description="Put the same load on several addresses in turns and relate what comes.",
        epilog=_COMPARE_EXAMPLES.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    asked = command.add_argument_group("what is asked")
    asked.add_argument(
        "--target",
        type=_said(Target.parse),
        action="append",
        required=True,
        metavar="NAME=URL",
        help="an address to compare, twice at least; the others are related to the first",
    )
    _add_asked(asked)
    when, _ = _add_arrivals(command, seconds=10.0)
    when.add_argument("--rounds", type=count, default=5, metavar="N", help="how many turns each has (%(default)s)")
    _add_results(command)
    return command


def check(command: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse options that contradict each other, and put in what others imply; ends the program like ``argparse``."""
    if options.trace is None:
        for name in ("scale", "limit"):
            if getattr(options, name) is not None:
                command.error(f"argument --{name}: it is about a trace; give --trace FILE too")
    options.scale = options.scale or 1.0
    ramp = getattr(options, "ramp", None)
    if options.arrivals is not None and options.rate is None and ramp is None:
        command.error("argument --arrivals: it is about a rate; give --rate R too")
    if ramp is not None and not options.slo:
        command.error("argument --ramp: it needs an objective to be met; give --slo NAME=MS, such as --slo ttft=200")
    if getattr(options, "attainment", None) is not None and ramp is None:
        command.error("argument --attainment: it is about the objectives of --ramp")
    targets = [target.name for target in getattr(options, "target", [])]
    if targets and (len(targets) < 2 or len(set(targets)) < len(targets)):
        command.error("argument --target: a comparison needs at least two, with different names")
    if options.save is not None and options.save == options.report:
        command.error("argument --report: it is the file of --save")
    _check_key(command, options.key_env)
    _check_number(command, options)
    try:
        options.parts = mix(options.mix or {options.workload or "chat": 1.0}, options.model)
    except MixError as error:
        command.error(f"argument --model: {error}")
    _check_objectives(command, options)


def _check_key(command: argparse.ArgumentParser, variable: str | None) -> None:
    """Refuse a key that is not there, or that no header may hold."""
    key = None if variable is None else os.environ.get(variable, "")
    if key == "":
        command.error(f"argument --key-env: there is no environment variable {variable}, or it is empty")
    if key is not None and not (key.isascii() and key.isprintable()):
        command.error(f"argument --key-env: {variable} holds a line break, or what is not ASCII: it is no API key")


def _check_number(command: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse more requests than can be planned."""
    ramp = getattr(options, "ramp", None)
    rate = options.rate or ramp
    if rate is not None and rate * options.seconds > _MOST_REQUESTS:
        command.error(
            f"argument --{'ramp' if ramp else 'rate'}: {rate:g} a second for {options.seconds:g} s are more than "
            f"{_MOST_REQUESTS:,} requests, which the client cannot hold"
        )


def _check_objectives(command: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse objectives that no request could miss: a ramp would go on for ever."""
    streams = not options.unary and any(part.kind in STREAMED for part in options.parts)
    for name, _ in options.slo:
        if name in OF_STREAMS and not streams:
            command.error(f"argument --slo: {name} is of streams, and nothing streams here; give e2el=MS")


def _add_asked(asked: argparse._ArgumentGroup) -> None:
    asked.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="[KIND=]NAME",
        help="the model to ask; KIND=NAME, several times, for the workloads of a mix",
    )
    what = asked.add_mutually_exclusive_group()
    what.add_argument("--workload", choices=sorted(WORKLOADS), help="one kind of request (chat)")
    what.add_argument("--mix", type=_said(weights), metavar="KIND=N,…", help="several kinds, with how often each comes")
    asked.add_argument("--unary", action="store_true", help="ask for whole responses instead of streams")
    asked.add_argument("--input-tokens", type=count, default=100, metavar="N", help="prompt length (%(default)s)")
    asked.add_argument("--output-tokens", type=count, default=64, metavar="N", help="response length (%(default)s)")
    asked.add_argument("--leave", type=_share, default=0.0, metavar="P", help="share of clients that go away early (0)")
    asked.add_argument("--key-env", metavar="NAME", help="environment variable that holds the API key")
    asked.add_argument(
        "--timeout", type=positive, default=TIMEOUT, metavar="S", help="give up on a response after this (%(default)s)"
    )
    asked.add_argument("--seed", type=integer, default=0, metavar="N", help="seed of everything random (%(default)s)")


def _add_arrivals(
    command: argparse.ArgumentParser, *, seconds: float
) -> tuple[argparse._ArgumentGroup, argparse._MutuallyExclusiveGroup]:
    when = command.add_argument_group("when it is sent")
    how = when.add_mutually_exclusive_group(required=True)
    how.add_argument("--rate", type=positive, metavar="R", help="open loop: R requests per second")
    how.add_argument("--clients", type=_clients, metavar="N", help="closed loop: N clients, one request each at a time")
    how.add_argument("--trace", type=Path, metavar="FILE", help="open loop: replay a Mooncake .jsonl or an Azure .csv")
    when.add_argument(
        "--seconds", type=positive, default=seconds, metavar="S", help="for how long, except of a trace (%(default)s)"
    )
    when.add_argument(
        "--arrivals", choices=("poisson", "constant"), help="how a rate is spaced: like independent users (poisson)"
    )
    when.add_argument("--scale", type=positive, metavar="X", help="stretch a trace's time (1)")
    when.add_argument("--limit", type=count, metavar="N", help="replay the first N requests of a trace")
    when.add_argument("--warm-up", type=_whole, default=5, metavar="N", help="requests before the test (%(default)s)")
    return when, how


def _add_results(command: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    results = command.add_argument_group("results")
    results.add_argument(
        "--slo", type=_slo, action="append", default=[], metavar="NAME=MS", help=f"for goodput: {', '.join(SLOS)}"
    )
    results.add_argument("--save", type=_said(_writable), metavar="FILE", help="write the results as JSON")
    results.add_argument(
        "--report", type=_said(_writable), metavar="FILE", help="write them as an HTML page with plots"
    )
    return results


def _said(read: Callable[[str], _T]) -> Callable[[str], _T]:
    """Let ``argparse`` show the message of a ``ValueError``."""

    def parse(given: str) -> _T:
        try:
            return read(given)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def _clients(given: str) -> int:
    value = count(given)
    if value > _MOST_CLIENTS:
        raise argparse.ArgumentTypeError(f"{given} is more than {_MOST_CLIENTS:,}, and so many ports there are")
    return value


def _whole(given: str) -> int:
    value = integer(given)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{given} is less than 0")
    if value > _MOST_REQUESTS:
        raise argparse.ArgumentTypeError(f"{given} is more than {_MOST_REQUESTS:,}")
    return value


def _share(given: str) -> float:
    value = number(given, "a share between 0 and 1")
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{given} is not a share between 0 and 1")
    return value


def _slo(given: str) -> tuple[str, float]:
    name, separator, limit = given.partition("=")
    if name not in SLOS or not separator:
        raise argparse.ArgumentTypeError(f"{given!r} is not an objective; one is ttft=200 (of {', '.join(SLOS)})")
    return name, positive(limit)


def _url(given: str) -> str:
    Address.parse(given)
    return given


def _writable(given: str) -> Path:
    path = Path(given)
    if path.is_dir():
        raise ValueError(f"{given} is a folder")
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"{given} cannot be written")
    return path
