"""TraceRequest traffic to replay: Mooncake's JSON lines, with the hashes of their prefixes, and Azure's CSV.

Formats: github.com/kvcache-ai/Mooncake (FAST25 release), github.com/Azure/AzurePublicDataset (LLM inference 2023).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from loadtest import workload

BLOCK_TOKENS = 512
"""How many tokens one of Mooncake's hashes stands for."""


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One recorded request: when it came in seconds, its tokens in and out, and the hashes of its prefix's blocks."""

    at: float
    tokens_in: int
    tokens_out: int
    blocks: tuple[int, ...] = ()

    def prompt(self, seed: int | str) -> str:
        """Write a prompt of this length. Equal hashes give equal text, so that a prefix cache hits as it did then."""
        pieces: list[str] = []
        left = self.tokens_in
        for block in self.blocks:
            if left <= 0:
                break
            pieces.append(workload.text(min(left, BLOCK_TOKENS), f"{seed} block {block}"))
            left -= BLOCK_TOKENS
        if left > 0 or not pieces:
            pieces.append(workload.text(left, f"{seed} {self.at} {left}"))
        return " ".join(pieces)


_Tokens = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
"""A length that some model may have; a prompt of an absurd one would take all memory."""


class _Line(msgspec.Struct):
    timestamp: float
    input_length: _Tokens
    output_length: _Tokens
    hash_ids: list[int] = []


class TraceError(ValueError):
    """A trace cannot be read; the message names file and line."""


def read(path: Path, limit: int | None = None) -> list[TraceRequest]:
    """Read at most ``limit`` requests of a trace, by its suffix ``.jsonl`` or ``.csv``. Raises ``TraceError``.

    They come in the order of time, even where a file's lines do not.
    """
    readers = {".jsonl": _mooncake, ".csv": _azure}
    reader = readers.get(path.suffix)
    if reader is None:
        raise TraceError(f"{path}: a trace is a .jsonl file like Mooncake's or a .csv file like Azure's")
    try:
        # Spreadsheets begin their files with a byte order mark.
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: {error}") from error
    try:
        found = reader(path, lines[: None if limit is None else limit + 1])[:limit]
    except csv.Error as error:
        raise TraceError(f"{path}: {error}") from error
    if not found:
        raise TraceError(f"{path}: no requests in it")
    return sorted(found, key=lambda each: each.at)


def _mooncake(path: Path, lines: Sequence[str]) -> list[TraceRequest]:
    decoder = msgspec.json.Decoder(_Line)
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            read = decoder.decode(line)
        except msgspec.DecodeError as error:
            raise TraceError(f"{path}, line {number}: {error}") from error
        found.append(TraceRequest(read.timestamp / 1000, read.input_length, read.output_length, tuple(read.hash_ids)))
    return found


def _azure(path: Path, lines: Sequence[str]) -> list[TraceRequest]:
    found = []
    for number, row in enumerate(csv.DictReader(lines), 2):
        try:
            # Seven digits of a second are one more than Python reads. The zone is UTC, in which no hour is missing.
            at = datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=UTC).timestamp()
            given, made = (
                msgspec.convert(row[name], _Tokens, strict=False) for name in ("ContextTokens", "GeneratedTokens")
            )
            found.append(TraceRequest(at, given, made))
        except msgspec.ValidationError as error:
            raise TraceError(f"{path}, line {number}: ContextTokens,GeneratedTokens: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise TraceError(f"{path}, line {number}: TIMESTAMP,ContextTokens,GeneratedTokens were expected") from error
    return found
