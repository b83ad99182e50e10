"""The graph: loading it, checking that its inputs are known, and running batches of texts through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors  # type: ignore[import-untyped]

from engines.onnx.errors import InferenceFailed, ModelError
from engines.onnx.model.tokens import PairIds, TokenIds

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.int64]

_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
_DTYPES: Mapping[str, type[np.integer[Any]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_FLOATS = frozenset({"tensor(float)", "tensor(float16)", "tensor(double)"})
"""Types of outputs that can be read; ONNX Runtime gives no arrays of bfloat16."""

_LOG_FATAL = 4
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

# The library's errors have no ancestor of their own below Exception.
_ORT_ERRORS = (
    ort_errors.EPFail,
    ort_errors.EngineError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.ModelLoadCanceled,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class Session:
    """One ONNX Runtime session, on a GPU or on the CPU, to be called from as many threads as there are cores.

    A run uses the calling thread only, so that runs side by side do not compete, and does not spin, so that a core that
    has nothing to do belongs to the neighbours.
    """

    def __init__(self, file: Path, *, gpu: bool = False) -> None:
        """Load the graph; with ``gpu`` onto the first CUDA device that this process sees.

        Raises ``ModelError`` when a file is missing or broken, when the graph's inputs are not those of a text encoder
        with free batch size and length, when no output is of floating-point numbers, and when a GPU is wanted that ONNX
        Runtime cannot use.
        """
        self._file = file
        self.on_gpu = gpu
        if not file.is_file():
            raise ModelError(file, "no such file")
        try:
            self._session = onnxruntime.InferenceSession(str(file), _options(), providers=_providers(file, gpu=gpu))
        except _ORT_ERRORS as error:
            raise ModelError(file, f"ONNX Runtime cannot load it: {_brief(error)}") from error
        # A provider whose libraries are missing is left out without an error, and everything would be slow.
        if gpu and _CUDA not in self._session.get_providers():
            raise ModelError(file, "ONNX Runtime could not start CUDA; are its libraries and the driver there?")
        self._bound = BoundRun(self._session, "cuda") if gpu else None
        self._inputs = {each.name: self._dtype(each) for each in self._session.get_inputs()}
        if "input_ids" not in self._inputs:
            raise ModelError(file, f"the graph has no input `input_ids`, only {_names(self._inputs)}")
        self.outputs: Mapping[str, int] = {
            each.name: len(each.shape) for each in self._session.get_outputs() if each.type in _FLOATS
        }
        """How many axes each output of floating-point numbers has, by name, in the graph's order."""
        if not self.outputs:
            kinds = ", ".join(f"`{each.name}` of {each.type}" for each in self._session.get_outputs())
            raise ModelError(file, f"no output is a {' or '.join(sorted(_FLOATS))}, there is only {kinds}")

    def __repr__(self) -> str:
        return f"<Session {self._file.name} {_names(self._inputs)} -> {_names(self.outputs)}>"

    def run(self, output: str, texts: Sequence[TokenIds]) -> tuple[Array, Mask]:
        """Run texts as one batch, padded to the longest, and give one output and the mask of real tokens.

        Raises ``InferenceFailed`` when ONNX Runtime refuses, and when what it gives does not have the batch's shape.
        """
        feed, mask = self.feed(texts)
        rows, length = mask.shape
        try:
            bound = self._bound
            result: Array = self._session.run([output], feed)[0] if bound is None else bound(output, feed)
        except _ORT_ERRORS as error:
            raise InferenceFailed(f"ONNX Runtime failed on a batch of {rows} x {length}: {_brief(error)}") from error
        # The last axis is of classes or dimensions.
        if result.shape[:-1] != mask.shape[: result.ndim - 1]:
            raise InferenceFailed(f"The graph gave the shape {result.shape} for a batch of {rows} x {length}")
        return result, mask

    def feed(self, texts: Sequence[TokenIds]) -> tuple[dict[str, Array], Mask]:
        """Give the graph's inputs for texts as one batch, padded to the longest, and the mask of real tokens."""
        shape = (len(texts), max(map(len, texts)))
        ids = np.zeros(shape, np.int64)
        mask: Mask = np.zeros(shape, np.int64)
        kinds = np.zeros(shape, np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
            if isinstance(text, PairIds):
                kinds[row, text.first : len(text)] = 1
        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}
        return {name: values[name].astype(dtype, copy=False) for name, dtype in self._inputs.items()}, mask

    def _dtype(self, given: Any) -> type[np.integer[Any]]:
        """Check one input of the graph and give the type of its numbers."""
        if given.name not in _INPUTS:
            raise ModelError(self._file, f"unknown input `{given.name}`; known are {_names(_INPUTS)}")
        if given.type not in _DTYPES:
            raise ModelError(self._file, f"input `{given.name}` is a {given.type}, not one of {_names(_DTYPES)}")
        if len(given.shape) != 2 or any(isinstance(size, int) for size in given.shape):
            raise ModelError(
                self._file,
                f"input `{given.name}` has the shape {given.shape}; batch size and length must be dynamic axes",
            )
        return _DTYPES[given.type]


class BoundRun:
    """Runs a graph with IO binding: inputs are copied to a device once, and the result is made there and copied back.

    Without it, ONNX Runtime guesses where each value is wanted, and may copy it more than once. ``device`` is ``cuda``
    for the first one that the process sees; with ``cpu`` the same calls work without a GPU. A binding belongs to one
    run, so that several threads may run at once.
    """

    def __init__(self, session: Any, device: str) -> None:
        self._session = session
        self._device = device

    def __call__(self, output: str, feed: Mapping[str, Array]) -> Array:
        """Give one output as it is on the CPU."""
        binding = self._session.io_binding()
        for name, value in feed.items():
            on_device = onnxruntime.OrtValue.ortvalue_from_numpy(value, self._device, 0)
            binding.bind_ortvalue_input(name, on_device)
        # How large the result will be is not known yet, so the place is named and not the memory.
        binding.bind_output(output, self._device, 0)
        self._session.run_with_iobinding(binding)
        result: Array = binding.get_outputs()[0].numpy()
        return result


def _providers(file: Path, *, gpu: bool) -> list[str]:
    if not gpu:
        return [_CPU]
    known = onnxruntime.get_available_providers()
    if _CUDA not in known:
        raise ModelError(file, f"a GPU is wanted, but this ONNX Runtime has only {_names(known)}; use onnxruntime-gpu")
    return [_CUDA, _CPU]


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A memory pattern is kept for every shape ever seen, and the shapes here vary without end.
    options.enable_mem_pattern = False
    # Without VNNI, x86-64 saturates in products of unsigned activations and signed weights of more than seven bits.
    # With this entry ONNX Runtime makes such weights unsigned when it loads them, and leaves others as they are.
    options.add_session_config_entry("session.x64quantprecision", "1")
    # Every failure is raised too; once is enough.
    options.log_severity_level = _LOG_FATAL
    return options


def _brief(error: Exception) -> str:
    """Take the library's prefix and its line ends out of a message."""
    return " ".join(str(error).removeprefix("[ONNXRuntimeError] : ").split())


def _names(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
