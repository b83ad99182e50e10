"""Gives texts a topic and a sentiment, by two classifiers, whatever becomes of the gateway in the meantime."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from examples.classifiers import NO_KEY, bearer, classify, explained
from examples.texts import UNSURE

SURE = 0.5
"""A topic that is less probable than this is ``UNSURE``: the text may be about something else altogether."""

_LONGEST_PAUSE_SECONDS = 30.0

Labels = tuple[str, str]
"""A topic and a sentiment."""


class StreamLabels:
    """The two classifiers, asked at the same time. A gateway that cannot answer now is asked again until it can."""

    def __init__(self, url: str, topic: str, sentiment: str, failed: Callable[[], None], key: str = NO_KEY) -> None:
        self._url = url
        self._models = (topic, sentiment)
        self._failed = failed
        self._http = httpx.Client(timeout=60, headers=bearer(key))
        self._threads = ThreadPoolExecutor(len(self._models))

    def label(self, texts: Sequence[str]) -> list[Labels]:
        """Give each text a topic and a sentiment. Raises ``httpx.HTTPError`` for what asking again would not change."""
        pause = 1.0
        while True:
            try:
                return self._ask(texts)
            except httpx.HTTPError as error:
                if not passing(error):
                    raise
                self._failed()
                print(f"{explained(error, self._url)}; trying again in {pause:g} s", file=sys.stderr, flush=True)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown()
        self._http.close()

    def _ask(self, texts: Sequence[str]) -> list[Labels]:
        topics, sentiments = self._threads.map(
            lambda model: classify(self._http, self._url, model, texts), self._models
        )
        return [
            (topic.label if topic.probability >= SURE else UNSURE, sentiment.label)
            for topic, sentiment in zip(topics, sentiments, strict=True)
        ]


def passing(error: httpx.HTTPError) -> bool:
    """Tell whether a failure may be over soon."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in {408, 429} or error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)
