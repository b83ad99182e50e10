"""Asks classifiers and embedders that a gateway serves about many texts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from loadtest.http_client import HttpClient, HttpError

_BATCH = 32
"""Texts of one request: enough for the engine to fill its batches, few enough for others to have their turn."""

_SECONDS = 120.0
"""Longest wait for a request; a classifier that others use as well may take a while."""

Reply = TypeVar("Reply", bound=msgspec.Struct)


class AskError(Exception):
    """A model did not answer; the message says why."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Classified(msgspec.Struct):
    """A text's class, and the probabilities of all classes."""

    label: str
    probs: list[float]


class _Classes(msgspec.Struct):
    data: list[Classified]


class Choice(msgspec.Struct):
    """A text that is worth labelling, by its place among those that were asked about."""

    index: int
    uncertainty: float | None


class _Choices(msgspec.Struct):
    data: list[Choice]


class _Error(msgspec.Struct):
    message: str
    param: str | None = None


class _Refusal(msgspec.Struct):
    error: _Error


@dataclass(frozen=True, slots=True)
class ServedModels:
    """The models behind the gateway at ``url``, to which ``client`` is connected; see ``served_at``."""

    url: str
    client: HttpClient

    async def classes(self, model: str, texts: Sequence[str]) -> list[Classified]:
        """Give the classes of texts; those that are too long are cut. Raises ``AskError``."""
        return [item async for reply in self._each(model, "/classify", texts, _Classes) for item in reply.data]

    async def choices(
        self, model: str, texts: Sequence[str], probs: Sequence[Sequence[float]] | None, count: int
    ) -> list[Choice]:
        """Let an embedder choose the texts that are most worth labelling. Raises ``AskError``."""
        fields = {"model": model, "input": texts, "probs": probs, "count": count, "truncate_prompt_tokens": -1}
        return (await self._ask("/v1/suggest", fields, _Choices)).data

    async def check_label(self, model: str, label: str) -> None:
        """Raise ``AskError`` if a classifier says that it has no such label; one that cannot say has them all.

        It is asked to explain the label: the gateway has no list of a model's labels.
        """
        fields = {"model": model, "input": "a", "explain": {"label": label, "max_words": 1}}
        try:
            await self._ask("/classify", fields, _Classes)
        except AskError as error:
            if error.param != "explain":
                raise

    async def _each(self, model: str, path: str, texts: Sequence[str], kind: type[Reply]) -> AsyncIterator[Reply]:
        for start in range(0, len(texts), _BATCH):
            fields = {"model": model, "input": texts[start : start + _BATCH], "truncate_prompt_tokens": -1}
            yield await self._ask(path, fields, kind)

    async def _ask(self, path: str, fields: dict[str, Any], kind: type[Reply]) -> Reply:
        try:
            response = await self.client.post(path, msgspec.json.encode(fields))
        except HttpError as error:
            raise AskError(f"No gateway answers at {self.url} (--url): {error}.") from error
        if response.status != 200:
            try:
                refused = msgspec.json.decode(response.body, type=_Refusal).error
            except (msgspec.DecodeError, UnicodeDecodeError):
                refused = _Error(response.body[:200].decode(errors="replace"))
            raise AskError(f"{path} answers {response.status}: {refused.message}", param=refused.param)
        try:
            return msgspec.json.decode(response.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AskError(f"{path} of {self.url} does not answer as expected: {error}.") from error


@asynccontextmanager
async def served_at(url: str, key: str | None) -> AsyncIterator[ServedModels]:
    """Connect to a gateway. Raises ``AskError`` for what is no address."""
    try:
        client = HttpClient(url, key=key, timeout=_SECONDS)
    except ValueError as error:
        raise AskError(f"--url: {error}") from error
    async with client:
        yield ServedModels(url, client)
