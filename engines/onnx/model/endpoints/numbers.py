"""Numbers in JSON: as a list, or in base64."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from engines.onnx.model.tasks import Row
from engines.onnx.protocol.requests import EmbedRequest

_BYTE_ORDERS: Mapping[str, Literal["=", "<", ">"]] = {"native": "=", "little": "<", "big": ">"}


def encoded(row: Row, asked: EmbedRequest) -> Any:
    """Encode numbers as asked: as a list, nested for each token, or as their bytes in base64."""
    if asked.encoding_format == "float":
        return row.tolist()
    binary = np.dtype(asked.embed_dtype).newbyteorder(_BYTE_ORDERS[asked.endianness])
    return base64.b64encode(row.astype(binary).tobytes()).decode("ascii")
