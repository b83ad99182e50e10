"""Streams of texts: the lines of a file, or texts drawn from rated ones, with a shift planted among them."""

from __future__ import annotations

import json
import queue
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from threading import Thread

from examples.texts import TOPICS, RatedText

WAITING = 1000
"""Texts that may wait for their labels. While so many do, no more are read, which slows down what writes the stream."""


class StreamFailed(Exception):
    """A stream cannot be read any further."""


@dataclass(frozen=True, slots=True)
class Shift:
    """From the text numbered ``after`` on, a ``share`` (0 to 1) of the texts of one topic are negative."""

    topic: str
    after: int
    share: float


def simulated(texts: Iterable[RatedText], seed: int, shift: Shift | None = None) -> Iterator[RatedText]:
    """Draw texts for ever: each topic as often as the others, and its texts with the shares that they have here."""
    draw = Random(seed)  # noqa: S311 - No secrets.
    texts = list(texts)
    pools = {topic: [each for each in texts if each.topic == topic] for topic in TOPICS}
    if shift is not None:
        negative = [each for each in pools[shift.topic] if each.sentiment == "negative"]
        others = [each for each in pools[shift.topic] if each.sentiment != "negative"]
    for number in count():
        topic = draw.choice(TOPICS)
        if shift is None or topic != shift.topic or number < shift.after:
            yield draw.choice(pools[topic])
        else:
            yield draw.choice(negative if draw.random() < shift.share else others)


def paced(texts: Iterable[str], per_second: float) -> Iterator[str]:
    """Let so many texts pass in a second; one that comes late does not make the others late."""
    began = time.monotonic()
    for number, text in enumerate(texts):
        time.sleep(max(0.0, began + number / per_second - time.monotonic()))
        yield text


def read_lines(lines: Iterable[str]) -> Iterator[str]:
    """Yield the text of each line: of an object its ``text``, and of what is not JSON the line. Empty lines are none.

    Lines of JSON that have no text are passed over, and told on stderr by their number.
    """
    for number, line in enumerate(lines, 1):
        try:
            text = text_of(line.strip())
        except ValueError as error:
            print(f"line {number} is passed over: {error}", file=sys.stderr, flush=True)
            continue
        if text:
            yield text


def text_of(line: str) -> str:
    """Return the text of a line. Raises ``ValueError`` where it is an object of JSON without one."""
    if not line.startswith("{"):
        return line
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ValueError(f"it begins as JSON does, but {error}") from None
    text = value.get("text")
    if not isinstance(text, str):
        raise ValueError(f'expected {{"text": "…"}}, but text is {text!r:.100}')
    return text.strip()


class Backlog:
    """The texts of a stream that wait for their labels, read by a thread of its own."""

    def __init__(self, texts: Iterable[str], size: int = WAITING) -> None:
        self._waiting: queue.Queue[str | None] = queue.Queue(size)
        self._failure: Exception | None = None
        self._ended = False
        Thread(target=self._read, args=(texts,), name="stream", daemon=True).start()

    def __len__(self) -> int:
        return self._waiting.qsize()

    def __repr__(self) -> str:
        return f"<Backlog {len(self)} texts>"

    def take(self, at_most: int, seconds: float) -> Sequence[str] | None:
        """Return the next texts: those that are there, or the first that comes within so many seconds, or none.

        ``None`` is the end of the stream. Raises ``StreamFailed`` where it could not be read to its end.
        """
        taken: list[str] = []
        while len(taken) < at_most and not self._ended:
            try:
                text = self._waiting.get(timeout=seconds) if not taken else self._waiting.get_nowait()
            except queue.Empty:
                break
            if text is None:
                self._ended = True
            else:
                taken.append(text)
        if taken or not self._ended:
            return taken
        if self._failure is not None:
            raise StreamFailed(f"the stream cannot be read further: {self._failure}")
        return None

    def _read(self, texts: Iterable[str]) -> None:
        try:
            for text in texts:
                self._waiting.put(text)
        except (OSError, ValueError) as error:
            self._failure = error
        finally:
            self._waiting.put(None)
