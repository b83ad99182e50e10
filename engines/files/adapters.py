"""LoRA adapters as PEFT saves them: read and checked before an engine is asked to load one.

An engine may take what does not fit without a word: vLLM pads a factor that is too small, leaves out layers that its
model does not have, and loads a pickle. So what can be seen without the weights is checked here, from the headers of
the files alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.errors import ContentError, EngineError, SourceError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_PICKLES = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth")

_LONGEST_HEADER = 100 * 1024 * 1024
"""Bytes; the format allows no more."""

_FACTOR = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<which>[AB])(?:\.default)?\.weight")

_RANKS = (16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for ``--max-lora-rank``, from its default on."""

_MOST_NAMED = 3
"""How many modules an error names at most."""

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter: its highest rank, and for each module that it changes the (output, input) size of that."""

    rank: int
    modules: Mapping[str, tuple[int, int]]


def read_adapter(folder: Path) -> Adapter:
    """Read what an adapter is. Raises ``EngineError`` where it is not there, not LoRA, or not in safetensors."""
    if not folder.is_dir():
        raise SourceError(f"The adapter's folder {folder} does not exist.")
    rank = adapter_rank(folder)
    if not (folder / WEIGHTS).is_file():
        pickles = [name for name in _PICKLES if (folder / name).exists()]
        instead = f" {pickles[0]} is a pickle, which can run code and is refused; save it again." if pickles else ""
        raise ContentError(f"The adapter in {folder} has no {WEIGHTS}.{instead}")
    modules = _modules(folder / WEIGHTS)
    if not modules:
        raise ContentError(f"{folder / WEIGHTS} has no LoRA factors (tensors named MODULE.lora_A.weight).")
    return Adapter(rank, modules)


def adapter_rank(folder: Path) -> int:
    """Read the highest rank that an adapter's configuration names. Raises ``EngineError``."""
    file = folder / CONFIG
    try:
        config = json.loads(file.read_bytes())
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ContentError(f"{file} is not valid JSON: {error}.") from None
    if not isinstance(config, dict):
        raise ContentError(f"{file} is not an object of JSON.")
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise ContentError(f"{file} describes an adapter of the type {kind!r}; expected LORA.")
    patterns = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(patterns.values() if isinstance(patterns, dict) else [None])]
    if not all(isinstance(rank, int) and rank > 0 for rank in ranks):
        raise ContentError(f"{file} has no valid rank: expected r, and the values of rank_pattern, above 0.")
    return max(map(int, ranks))


def rank_for(folders: Iterable[Path]) -> int:
    """Give the highest rank that an engine must be ready for, as vLLM takes it. What is wrong does not count."""
    ranks = [_RANKS[0]]
    for folder in folders:
        with suppress(EngineError):
            ranks.append(adapter_rank(folder))
    return next((rank for rank in _RANKS if rank >= max(ranks)), _RANKS[-1])


def check_fit(adapter: Adapter, base: Path) -> None:
    """Compare an adapter with the weights of the model that it is for. Raises ``ContentError`` where it does not fit.

    Nothing is compared where the model's weights are elsewhere or have other names, as those of a quantized model may
    have: then the engine must see for itself.
    """
    shapes: dict[str, Shape] = {}
    for file in sorted(base.glob("*.safetensors")):
        shapes |= _header(file)
    found = {module: shapes[f"{module}.weight"] for module in adapter.modules if f"{module}.weight" in shapes}
    if not found:
        return
    missing = [module for module in adapter.modules if module not in found]
    if missing:
        raise ContentError(f"The adapter does not fit its base, which has no {_some(missing)}.")
    for module, size in adapter.modules.items():
        # Some models hold their matrices the other way round (``fan_in_fan_out``).
        if found[module] not in (size, size[::-1]):
            own, others = "x".join(map(str, size)), "x".join(map(str, found[module]))
            raise ContentError(f"The adapter does not fit its base: it is made for a {module} of {own}, not {others}.")


def _modules(file: Path) -> dict[str, tuple[int, int]]:
    """Give the size of each module that has both factors. Raises ``ContentError``."""
    factors: dict[str, dict[str, Shape]] = {}
    for name, shape in _header(file).items():
        if match := _FACTOR.fullmatch(name):
            factors.setdefault(match["module"], {})[match["which"]] = shape
    sizes = {}
    for module, pair in factors.items():
        a, b = pair.get("A", ()), pair.get("B", ())
        if len(a) != 2 or len(b) != 2 or a[0] != b[1]:
            raise ContentError(f"{file} has no pair of factors for {module}: A is {list(a)}, B is {list(b)}.")
        sizes[module] = (b[0], a[1])
    return sizes


def _header(file: Path) -> dict[str, Shape]:
    """Read the shapes of all tensors in a file of safetensors: a length of 8 bytes, and so much JSON."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if length > min(_LONGEST_HEADER, file.stat().st_size):
                raise ContentError(f"{file} is not a file of safetensors, or it was cut.")
            header = json.loads(opened.read(length))
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise ContentError(f"{file} is not a file of safetensors, or it was cut.") from None
    return dict(_shapes(header)) if isinstance(header, dict) else {}


def _shapes(header: Mapping[str, Any]) -> Iterator[tuple[str, Shape]]:
    for name, tensor in header.items():
        shape = tensor.get("shape") if isinstance(tensor, dict) else None
        if isinstance(shape, list) and all(isinstance(size, int) for size in shape):
            yield name, tuple(shape)


def _some(modules: list[str]) -> str:
    more = len(modules) - _MOST_NAMED
    return ", ".join(modules[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
