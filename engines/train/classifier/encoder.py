"""The model that is trained: an encoder of a Hugging Face folder, its pooling, and a linear head."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer

from engines.onnx.errors import ModelError
from engines.onnx.model.folder import ModelFolder
from engines.train.errors import JobError
from engines.train.loop import autocast

LONGEST = 512
"""Tokens of a text at most, where the folder allows as many or says nothing."""

_DROPOUT = 0.1
_EMBEDDED_TOKENS = 4096
_AT_ONCE = 256
"""Texts between two looks at the clock."""
_POOLINGS = ("mean_tokens", "cls_token")

TokenIds = Sequence[int]


class Portion(NamedTuple):
    """Rows of texts, shape (texts, width), the texts' numbers, and how many ``seconds`` the rows took."""

    rows: Any
    numbers: list[int]
    seconds: float


class Base:
    """A folder's encoder and tokenizer; ``cls`` says that the first token's vector stands for the text."""

    def __init__(self, folder: Path) -> None:
        """Load it. Raises ``JobError`` where it is no encoder that can be trained."""
        _check_files(folder)
        os.environ["HF_HUB_OFFLINE"] = "1"  # All that is needed is in the folder.
        from transformers import AutoModel

        try:
            files = ModelFolder(folder)
            modes, longest = files.pooling.modes, files.max_length
            self.model: Any = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except (ModelError, OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise _unfit(f"{folder} cannot be loaded: {error}") from error
        if len(modes) != 1 or modes[0] not in _POOLINGS:
            raise _unfit(f"{folder} pools by {', '.join(modes) or 'nothing'}; expected the mean or the first token")
        self.cls = modes[0] == "cls_token"
        self.folder = folder
        self.max_length = min(longest or LONGEST, LONGEST)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_length)

    @property
    def width(self) -> int:
        """How many numbers a text's vector has."""
        return int(self.model.config.hidden_size)

    def tokens(self, texts: Sequence[str]) -> list[TokenIds]:
        """Give the token ids of texts, none longer than ``max_length``."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]


class Classifier(torch.nn.Module):  # type: ignore[misc]
    """Logits of whole texts: the pooled vector, dropout, and a linear layer that begins at zero."""

    def __init__(self, encoder: Any, width: int, classes: int, *, cls: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = torch.nn.Dropout(_DROPOUT)
        self.head = torch.nn.Linear(width, classes)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)
        self._cls = cls

    def embed(self, input_ids: Any, attention_mask: Any) -> Any:
        """Give a vector for each text, shape (texts, width)."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        if self._cls:
            return states[:, 0]
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1)

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        """Give the logits of each text, shape (texts, classes)."""
        return self.head(self.dropout(self.embed(input_ids, attention_mask)))


def padded(texts: Sequence[TokenIds]) -> tuple[Any, Any]:
    """Make tensors of token ids, padded to the longest, and of the mask of real tokens."""
    ids = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = 1
    return ids, mask


def rows_of(
    compute: Callable[[Any, Any], Any],
    texts: Sequence[TokenIds],
    tell: Callable[[float], None] = lambda _: None,
    *,
    exact: bool = False,
) -> Any:
    """Compute a row for each text without gradients, in batches of like length; ``tell`` hears which share is done.

    ``exact`` computes in float32 whatever the processor is fast at.
    """
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    rows: dict[int, Any] = {}
    with torch.inference_mode(), nullcontext() if exact else autocast():
        for batch in _by_tokens(order, texts):
            found = compute(*padded([texts[number] for number in batch])).float()
            rows |= dict(zip(batch, found, strict=True))
            tell(len(rows) / len(texts))
    return torch.stack([rows[number] for number in range(len(texts))]).clone()


def rows_until(
    compute: Callable[[Any, Any], Any], texts: Sequence[TokenIds], deadline: float, seed: int
) -> tuple[Any, list[int]]:
    """Compute rows of texts in random order until a moment of ``perf_counter``; give them, and the texts' numbers.

    Some are computed in any case.
    """
    *_, last = growing_rows(compute, texts, len(texts), deadline, seed)
    return last.rows, last.numbers


def growing_rows(
    compute: Callable[[Any, Any], Any],
    texts: Sequence[TokenIds],
    first: int,
    deadline: float,
    seed: int,
    tell: Callable[[float], None] = lambda _: None,
) -> Iterator[Portion]:
    """Compute rows of texts in random order, and give all that there are each time that these are twice as many.

    The first time these are about ``first`` texts. It ends at the ``deadline``, a moment of ``perf_counter``, or with
    all texts; some are computed in any case. ``tell`` hears which share is done.
    """
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    found: list[Any] = []
    wanted, seconds = min(first, len(order)), 0.0
    for done in range(0, len(order), _AT_ONCE):
        part = order[done : done + _AT_ONCE]
        start = time.perf_counter()
        found.append(rows_of(compute, [texts[number] for number in part]))
        now = time.perf_counter()
        seconds += now - start
        count = done + len(part)
        tell(count / len(order))
        if count >= wanted or now >= deadline:
            yield Portion(torch.cat(found), order[:count], seconds)
            wanted = min(2 * count, len(order))
        if now >= deadline:
            return


def _by_tokens(order: Sequence[int], texts: Sequence[TokenIds]) -> list[list[int]]:
    """Cut numbers, in the order of their texts' lengths, into batches of at most so many tokens."""
    batches: list[list[int]] = []
    for number in order:
        if batches and (len(batches[-1]) + 1) * len(texts[number]) <= _EMBEDDED_TOKENS:
            batches[-1].append(number)
        else:
            batches.append([number])
    return batches


def _check_files(folder: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise _unfit(f"{folder} has no {name}")
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        refused = f"; {pickles[0]} is a pickle, which may run code when it is read" if pickles else ""
        raise _unfit(f"{folder} has no weights in safetensors{refused}")


def _unfit(why: str) -> JobError:
    return JobError("invalid_model", f"The base model cannot be trained: {why}.", "model")
