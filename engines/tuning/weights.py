"""Brings the weights that a job starts from, as engines bring theirs: by digest from a package, or from a folder."""

from __future__ import annotations

from pathlib import Path

from engines.errors import ContentError
from engines.files.sources import fetch
from engines.launchers.vllm import Vllm
from engines.spec import EngineSpec, FolderSource, PackageFile, PackageSource, Progress, Source
from engines.tuning.records import Kind, Weights

_CONFIG = "config.json"


def bring(base: str, kind: Kind, weights: Weights, cache: Path, progress: Progress) -> Path:
    """Return the folder with the weights of a base, fetching or converting them first. Blocks. Raises ``EngineError``.

    A generating model is trained on the files that its vLLM reads.
    """
    source = _source(weights)
    if kind == "lora":
        folder = Vllm().prepare(EngineSpec(model=base, engine="vllm", source=source), cache, progress)
    else:
        folder = fetch(source, cache, progress)
    if not (folder / _CONFIG).is_file():
        raise ContentError(f"The weights of {base!r} in {folder} have no {_CONFIG}.")
    if not list(folder.glob("*.safetensors")):
        raise ContentError(f"The weights of {base!r} in {folder} are not in safetensors, which is all that is read.")
    return folder


def _source(weights: Weights) -> Source:
    if weights.package is not None:
        files = tuple(PackageFile(name, path, sha256) for name, (path, sha256) in weights.files.items())
        return PackageSource(weights.package, files)
    return FolderSource(Path(weights.folder or ""))
