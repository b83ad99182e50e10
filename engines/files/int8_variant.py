"""Where a promoted int8 variant of a model lies, and whether it still belongs to the model.

It is a whole folder of its own, ``int8`` within the model's: the graph, copies of the files that say what the model is,
and the card of how it was measured. The card names the digests of the graph it was made from and of its own, so that a
variant of other weights, or one that was changed, is never served.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from engines.errors import ContentError

INT8 = "int8"
REFUSED = "int8-refused"
"""Where the card goes when nothing was promoted."""

CARD = "card"
"""The card's files are called that, with endings of their own."""


class _Card(msgspec.Struct, frozen=True):
    """What matters here of the card."""

    source: str
    graph: str | None


def digest(folder: Path) -> str:
    """Give the SHA-256 of a graph with the weights beside it: over the files ``model.onnx*``, by name."""
    whole = hashlib.sha256()
    for file in sorted(folder.glob("model.onnx*")):
        with file.open("rb") as content:
            whole.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            while piece := content.read(1024 * 1024):
                whole.update(piece)
    return whole.hexdigest()


def int8_variant(folder: Path, model: str) -> Path:
    """Return the folder of a model's int8 variant. Raises ``ContentError`` saying which command makes one."""
    variant = folder / INT8
    file = variant / f"{CARD}.json"
    remedy = f"make one with: headgate quantize {model} --data FILE"
    try:
        card = msgspec.json.decode(file.read_bytes(), type=_Card)
    except (FileNotFoundError, NotADirectoryError):
        raise ContentError(f"The model {model} has no promoted int8 variant in {variant}; {remedy}") from None
    except (OSError, msgspec.DecodeError) as error:
        raise ContentError(f"The card {file} cannot be read ({error}); {remedy}") from error
    if card.source != digest(folder):
        raise ContentError(f"The int8 variant in {variant} was made from other weights than the model's; {remedy}")
    if card.graph != digest(variant):
        raise ContentError(f"The graph in {variant} is not the one that was measured and promoted; {remedy}")
    return variant
