"""What a request wants is read from the fields of every kind of client."""

from __future__ import annotations

from typing import Any

import pytest

from engines.onnx.protocol.requests import ClassifyRequest, RerankRequest


@pytest.mark.parametrize(
    ("fields", "cuts", "side"),
    [
        ({}, None, "right"),
        ({"truncate": True}, True, "right"),
        ({"truncate": False}, False, "right"),
        ({"truncate": "NONE"}, False, "right"),
        ({"truncate": "END"}, True, "right"),
        ({"truncate": "START"}, True, "left"),
        ({"truncation": True}, True, "right"),
        ({"truncation": False}, False, "right"),
        ({"truncate": True, "truncation": False}, True, "right"),
        ({"truncation_side": "left"}, None, "left"),
        ({"truncate": "START", "truncation_side": "right"}, True, "right"),
    ],
)
def test_whether_and_where_a_text_is_cut(fields: dict[str, Any], cuts: bool | None, side: str) -> None:
    asked = ClassifyRequest(input="a", **fields)
    assert (asked.cuts, asked.side) == (cuts, side)


@pytest.mark.parametrize(
    ("fields", "most", "from_voyage"),
    [
        ({}, None, False),
        ({"top_n": 0}, None, False),
        ({"top_n": 2}, 2, False),
        ({"top_k": 3}, 3, True),
        ({"top_k": None}, None, True),
        ({"top_k": 3, "top_n": 2}, 2, True),
        ({"truncation": True}, None, True),
        ({"truncate": True}, None, False),
    ],
)
def test_how_many_documents_come_back_and_to_whom(fields: dict[str, Any], most: int | None, from_voyage: bool) -> None:
    asked = RerankRequest(query="a", documents=["b"], **fields)
    assert (asked.most, asked.from_voyage) == (most, from_voyage)
