"""Vectors come as lists of numbers or in base64, in the type and byte order that was asked for."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from tests.engines.onnx.model.endpoints.servers import Servers
from tests.engines.onnx.tiny import CAT


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, "<f4"),
        ({"endianness": "little"}, "<f4"),
        ({"endianness": "big"}, ">f4"),
        ({"embed_dtype": "float16"}, "<f2"),
        ({"embed_dtype": "float16", "endianness": "big"}, ">f2"),
    ],
)
@pytest.mark.parametrize(("path", "field"), [("/v1/embeddings", "embedding"), ("/pooling", "data")])
async def test_base64_holds_the_numbers_bytes(
    servers: Servers, path: str, field: str, options: dict[str, Any], kind: str
) -> None:
    asked = {"input": [[CAT]], "encoding_format": "base64"} | options
    (item,) = (await servers.ask("embedder", path, **asked))["data"]
    assert np.frombuffer(base64.b64decode(item[field]), kind).tolist() == pytest.approx([0, 0.6, 0.8], abs=1e-3)
