"""A bank's customer service: it answers from help pages, or says that it does not know and hands over to a person.

A classifier that is fine-tuned through the gateway says what a question is about, an embedder finds the help pages near
it, and a chat model chooses the sentences of the best one that answer it. With ``make serve`` in another terminal:

    .venv/bin/python -m examples.customer_service
    .venv/bin/python -m examples.customer_service --ask "My card has not come yet"
    .venv/bin/python -m examples.customer_service --measure
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import httpx
from openai import OpenAI, OpenAIError

from examples.classifiers import FAILURES, NO_KEY, explained
from examples.customer_service.handover import Limits, choose_limits
from examples.customer_service.intents import TEST, TRAIN, find_or_make, read_questions, split
from examples.customer_service.knowledge_base import BANK_HELP, KnowledgeBase, KnowledgeError, read_passages
from examples.customer_service.service_desk import Considered, Desk, read_question
from examples.customer_service.service_figures import measure, picture, table
from examples.vectors import Embedder, cache_folder

EMBEDDER, CHAT = "minilm", "smollm2-135m"
SILENCE_SECONDS = 120.0
"""For how long a stream may say nothing before the answer is given up."""

DEMONSTRATION = (
    "I ordered my card two weeks ago and it still isn't here!",
    "how much can I top up per day?",
    "Can my son open an account? He is 15",
    "Somebody took money out at a cash machine and it was not me",
    "card",
    "What is the best recipe for pancakes?",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the example; return 1 where something is missing, after saying what."""
    options = _options(arguments)
    try:
        with OpenAI(base_url=options.url, api_key=options.key, timeout=SILENCE_SECONDS) as client:
            desk, limits = open_desk(client, options)
            if options.measure:
                figures = measure(desk, read_questions(TEST), limits)
                print(table(figures))
                if options.picture:
                    options.picture.write_text(picture(figures), encoding="utf-8")
            elif options.interactive:
                serve(desk, limits, _typed())
            else:
                serve(desk, limits, options.ask or DEMONSTRATION)
    except (KnowledgeError, OSError, *FAILURES) as error:
        print(explained(error, options.url), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    return 0


def open_desk(client: OpenAI, options: argparse.Namespace) -> tuple[Desk, Limits]:
    """Make what is needed, or find what is there: classifier, vectors of the passages, and limits."""
    passages = read_passages(options.knowledge)
    training = read_questions(TRAIN)
    classifier = find_or_make(client, training, options.time_budget)
    embedder = Embedder(client, EMBEDDER, cache_folder("customer-service") / "vectors.npz")
    knowledge = KnowledgeBase(passages, embedder.embed([passage.embedded for passage in passages]))
    desk = Desk(client, options.url, embedder, knowledge, classifier, options.chat)
    _, held_back = split(training)
    about = [classifier, *(passage.embedded for passage in passages)]
    digest = hashlib.sha256("\0".join(about).encode()).hexdigest()
    file = cache_folder("customer-service") / f"limits-{digest[:16]}.json"
    if file.exists():
        return desk, Limits(*json.loads(file.read_text()))
    looked_up = desk.look_up([question.text for question in held_back], keep=True)
    limits = choose_limits(
        [verdict for verdict, _ in looked_up],
        [question.intent for question in held_back],
        [found[0].similarity for _, found in looked_up],
    )
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(limits))
    draft.replace(file)
    return desk, limits


def serve(desk: Desk, limits: Limits, questions: Iterable[str]) -> None:
    """Answer questions one by one, or hand them over."""
    for line in questions:
        question, cut = read_question(line)
        if not question:
            print("What can I do for you?")
            continue
        print(f"\n> {question[:400]}{'…' if len(question) > 400 else ''}")
        if cut:
            print(f"  (That is long; I have read its first {len(question.split())} words.)")
        considered = desk.consider(question, limits)
        if considered.handed_over is None:
            _answer(desk, considered)
        else:
            print(f"  I do not know. {considered.handed_over}\n  I hand you over to a colleague.")


def _answer(desk: Desk, considered: Considered) -> None:
    """Write the answer as it comes, and in any case where it is from: a passage can be read without an answer too."""
    best, *others = considered.found
    print("  ", end="")
    try:
        for piece in desk.answer(considered.question, best.passage):
            print(piece, end="", flush=True)
    except (OpenAIError, httpx.HTTPError) as error:
        print(
            f"… (the answer broke off: {error or type(error).__name__}; this is the page)\n  {best.passage.text}",
            end="",
        )
    verdict = considered.verdict
    print(f"\n  from “{best.passage.title}” (similarity {best.similarity:.2f}); ", end="")
    print(f"intent {verdict.label}, {verdict.probability:.0%}")
    if others:
        print(f"  see also {', '.join(f'“{each.passage.title}”' for each in others)}")


def _typed() -> Iterable[str]:
    """Give what is typed until the end of the input."""
    if sys.stdin.isatty():
        print("Ask a question on each line; Ctrl-D ends.")
    return sys.stdin


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.customer_service", description=__doc__.split("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1", help="the gateway (default: %(default)s)")
    parser.add_argument("--key", default=NO_KEY, help="an API key, where the gateway wants one")
    parser.add_argument("--knowledge", type=Path, default=BANK_HELP, metavar="FILE", help="passages, as JSON lines")
    parser.add_argument("--chat", default=CHAT, metavar="MODEL", help="the model that answers (default: %(default)s)")
    parser.add_argument(
        "--time-budget", type=float, default=600.0, metavar="SECONDS", help="for the fine-tuning, at most"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--ask", action="append", metavar="TEXT", help="ask this; may be repeated")
    mode.add_argument("--interactive", action="store_true", help="answer what is typed, a question on each line")
    mode.add_argument("--measure", action="store_true", help="measure on Banking77's test questions")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="where --measure draws its figures, as SVG")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
