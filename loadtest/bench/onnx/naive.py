"""What a first attempt at serving a model looks like: each request runs alone, padded to the longest text there is.

``python -m loadtest.bench.onnx.naive --folder DIR --task embed --port N`` speaks as much of ``/v1/embeddings`` and
``/classify`` as the benchmark needs, with ONNX Runtime as it comes out of the box.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from aiohttp import web
from tokenizers import Tokenizer

PATHS = {"embed": "/v1/embeddings", "classify": "/classify"}


class NaiveServer:
    """Responds with the mean of a text's vectors, or with its logits."""

    def __init__(self, folder: Path, length: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(length)
        self._tokenizer.enable_padding(length=length)
        self._session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        self._inputs = {each.name for each in self._session.get_inputs()}

    async def respond(self, request: web.Request) -> web.Response:
        """Respond at once, to one request after the other."""
        asked = msgspec.json.decode(await request.read())
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        rows = self._compute(texts)
        data = [{"index": index, "embedding": row.tolist()} for index, row in enumerate(rows)]
        body = {"object": "list", "model": asked["model"], "data": data, "usage": {"prompt_tokens": 0}}
        return web.json_response(body, dumps=lambda value: msgspec.json.encode(value).decode())

    def _compute(self, texts: Sequence[str]) -> Any:
        encodings = self._tokenizer.encode_batch(texts)
        mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
        values = {
            "input_ids": np.array([encoding.ids for encoding in encodings], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        output = self._session.run(None, {name: values[name] for name in self._inputs})[0]
        if output.ndim == 2:
            return output
        vectors = (output * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until it is killed."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.bench.onnx.naive", description="Serve an ONNX model naively."
    )
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="model.onnx and tokenizer.json")
    parser.add_argument("--task", choices=sorted(PATHS), required=True, help="what the model does")
    parser.add_argument("--port", type=int, required=True, metavar="N", help="port on 127.0.0.1")
    parser.add_argument("--max-length", type=int, default=128, metavar="N", help="tokens of every text (%(default)s)")
    options = parser.parse_args(arguments)
    app = web.Application(client_max_size=2**25)
    app.add_routes([web.post(PATHS[options.task], NaiveServer(options.folder, options.max_length).respond)])
    web.run_app(app, host="127.0.0.1", port=options.port, print=None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
