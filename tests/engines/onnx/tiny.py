"""Real models of a few hundred bytes: each word has its row of numbers, and a text is the sum of its words.

The graphs run in ONNX Runtime like any other, and their answers can be worked out in the head. They are written as
protocol buffers by hand (field numbers: ``onnx.proto3``), which spares the tests a dependency.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "cat", "dog", "poison", "end")
PAD, UNK, CLS, SEP, GOOD, BAD, CAT, DOG, POISON, END = range(len(WORDS))

LOGITS = {"good": (2.0, 0.0), "bad": (0.0, 2.0), "[PAD]": (9.0, 9.0)}
"""Good and bad words; padding would weigh most if it were not masked."""

VECTORS = {"good": (1.0, 0.0, 0.0), "cat": (0.0, 3.0, 4.0), "dog": (0.0, 4.0, 3.0), "[CLS]": (0.5, 0.0, 0.0)}
"""Cats and dogs are alike."""

FLOAT, INT32, INT64 = 1, 6, 7
"""Types of numbers, as ONNX counts them."""


def table(rows: Mapping[str, tuple[float, ...]], words: Sequence[str] = WORDS) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Give the rows of all words, shape (words, width); words that are not named have zeros."""
    nothing = (0.0,) * len(next(iter(rows.values())))
    return np.array([rows.get(word, nothing) for word in words], np.float32)


def write_tokenizer(folder: Path, *, max_length: int | None = 16, specials: bool = True) -> Path:
    """Write a ``tokenizer.json`` that knows ``WORDS``; with ``specials`` a text gets ``[CLS]`` and ``[SEP]``."""
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    if specials:
        pair = "[CLS] $A [SEP] $B:1 [SEP]:1"
        tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", pair, [("[CLS]", CLS), ("[SEP]", SEP)])
    if max_length is not None:
        tokenizer.enable_truncation(max_length)
        tokenizer.enable_padding(length=max_length)
    file = folder / "tokenizer.json"
    tokenizer.save(str(file))
    return file


def write_graph(
    folder: Path,
    rows: np.ndarray[Any, np.dtype[np.float32]],
    *,
    output: str,
    pooled: bool,
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
    kind: int = INT64,
    kinds: Mapping[str, int] = MappingProxyType({}),
    axes: Sequence[str | int] = ("batch", "length"),
    positions: int | None = None,
    beside: str | None = None,
    table_at: str | None = None,
) -> Path:
    """Write ``model.onnx``: an output of each word's row, or when ``pooled`` of the sum of these.

    Inputs are integers of this ``kind``, or what ``kinds`` says; ``beside`` names a second output, of each word's row.
    ``table_at`` says that the rows lie in another file, which is not written here. The word ``poison`` makes the graph
    fail while it runs, and so do more words than there are ``positions``.
    """
    lookup = np.arange(len(rows), dtype=np.int64)
    if len(rows) > POISON:
        lookup[POISON] = 10**6
    tensors = [_tensor("lookup", lookup), _tensor("table", rows) if table_at is None else _far("table", rows, table_at)]
    nodes = [_node("Gather", ["lookup", inputs[0]], "known"), _node("Gather", ["table", "known"], "words")]
    last = "words"
    if positions is not None:
        tensors += [_tensor("positions", np.zeros((positions, rows.shape[1]), np.float32))]
        tensors += [_tensor(name, np.array(value, np.int64)) for name, value in (("zero", 0), ("one", 1))]
        nodes += [_node("Shape", [inputs[0]], "shape"), _node("Gather", ["shape", "one"], "length")]
        nodes += [_node("Range", ["zero", "length", "one"], "places"), _node("Gather", ["positions", "places"], "at")]
        nodes += [_node("Add", [last, "at"], "placed")]
        last = "placed"
    if pooled:
        tensors += [_tensor("last_axis", np.array([2], np.int64)), _tensor("text_axis", np.array([1], np.int64))]
        nodes += [_node("Cast", ["attention_mask"], "weights", to=FLOAT)]
        nodes += [_node("Unsqueeze", ["weights", "last_axis"], "column"), _node("Mul", [last, "column"], "weighed")]
        nodes += [_node("ReduceSum", ["weighed", "text_axis"], output, keepdims=0)]
    else:
        nodes += [_node("Identity", [last], output)]
    produced = [*axes[:1], rows.shape[1]] if pooled else [*axes, rows.shape[1]]
    graph = b"".join(_field(1, node) for node in nodes)
    graph += _field(2, "tiny") + b"".join(_field(5, tensor) for tensor in tensors)
    graph += b"".join(_field(11, _value(name, kinds.get(name, kind), axes)) for name in inputs)
    graph += _field(12, _value(output, FLOAT, produced))
    if beside is not None:
        graph += _field(1, _node("Identity", [last], beside))
        graph += _field(12, _value(beside, FLOAT, [*axes, rows.shape[1]]))
    file = folder / "model.onnx"
    file.write_bytes(_field(1, 8) + _field(8, _field(2, 17)) + _field(7, graph))
    return file


def write_classifier(folder: Path, **options: Any) -> Path:
    """Write the whole folder of a model that tells good texts from bad ones."""
    write_tokenizer(folder)
    write_graph(folder, table(LOGITS), output="logits", pooled=True, **options)
    (folder / "config.json").write_text(json.dumps({"id2label": {"0": "good", "1": "bad"}}))
    return folder


def write_embedder(folder: Path, **options: Any) -> Path:
    """Write the whole folder of a model that embeds texts in three dimensions, the mean of their words."""
    write_tokenizer(folder)
    write_graph(folder, table(VECTORS), output="last_hidden_state", pooled=False, **options)
    return folder


def write_cross_encoder(folder: Path) -> Path:
    """Write the whole folder of a model that scores pairs of texts: the number of their good words less the bad."""
    write_tokenizer(folder)
    write_graph(folder, table({"good": (1.0,), "bad": (-1.0,), "[PAD]": (9.0,)}), output="logits", pooled=True)
    return folder


TAGS = {"O": 0, "B-PET": 1, "I-PET": 2}
"""Labels of tokens: a cat begins a pet, a dog goes on with one."""


def write_token_classifier(folder: Path) -> Path:
    """Write the whole folder of a model that finds pets, as in ``cat dog``."""
    write_tokenizer(folder)
    rows = dict.fromkeys(WORDS, (3.0, 0.0, 0.0)) | {"cat": (0.0, 3.0, 0.0), "dog": (0.0, 0.0, 3.0)}
    write_graph(folder, table(rows), output="logits", pooled=False)
    (folder / "config.json").write_text(json.dumps({"id2label": {str(index): tag for tag, index in TAGS.items()}}))
    return folder


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _field(number: int, value: int | str | bytes) -> bytes:
    """Encode one field: an integer, or bytes with their length before them."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _node(operation: str, inputs: Sequence[str], output: str, **attributes: int) -> bytes:
    encoded = b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(4, operation)
    kind = 2  # An attribute that is one integer.
    return encoded + b"".join(
        _field(5, _field(1, name) + _field(3, value) + _field(20, kind)) for name, value in attributes.items()
    )


def _tensor(name: str, values: np.ndarray[Any, Any]) -> bytes:
    kind = FLOAT if values.dtype == np.float32 else INT64
    dims = b"".join(_field(1, size) for size in values.shape)
    return dims + _field(2, kind) + _field(8, name) + _field(9, values.tobytes())


def _far(name: str, values: np.ndarray[Any, Any], location: str) -> bytes:
    """Encode a tensor whose numbers lie in another file."""
    dims = b"".join(_field(1, size) for size in values.shape)
    places = {"location": location, "offset": "0", "length": str(values.nbytes)}
    entries = b"".join(_field(13, _field(1, key) + _field(2, value)) for key, value in places.items())
    return dims + _field(2, FLOAT) + _field(8, name) + entries + _field(14, 1)


def _value(name: str, kind: int, axes: Sequence[str | int]) -> bytes:
    dims = b"".join(_field(1, _field(1 if isinstance(axis, int) else 2, axis)) for axis in axes)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, dims)))
