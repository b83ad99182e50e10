"""The simulated engine answers as the real ones do: the same statuses, headers and shapes, field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadtest.simulator import SimulatedEngine
from tests.e2e.conftest import HANGING_SECONDS, Served
from tests.kit.shapes import differences, shape, stream_shape
from tests.kit.wire import Response, Wire

pytestmark = pytest.mark.slow

CHAT = "smollm2-135m"
TALK = [{"role": "user", "content": "What is the capital of France?"}]
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


async def ask(address: str, path: str, body: Any) -> Response:
    async with await Wire.connect_to(address, timeout=HANGING_SECONDS) as wire:
        await wire.request("POST", path, body)
        return await wire.response()


async def both(served: Served, socket: Path, model: str, path: str, body: Any) -> tuple[Response, Response]:
    """Ask the real engine and a simulated one of the same name."""
    replicas: Any = served.status()[model]["replicas"]
    real = await ask(replicas[0]["address"], path, body)
    async with SimulatedEngine(model, uds=socket, max_model_len=2048) as simulated:
        return real, await ask(simulated.address, path, body)


@pytest.mark.parametrize(
    ("model", "path", "body"),
    [
        (CHAT, "/v1/chat/completions", {"messages": TALK, "max_tokens": 3}),
        (CHAT, "/v1/chat/completions", {"messages": TALK, "max_tokens": 3, "logprobs": True}),
        (CHAT, "/v1/chat/completions", {"messages": TALK, "max_tokens": 3, "n": 2}),
        (CHAT, "/v1/completions", {"prompt": "One, two,", "max_tokens": 3}),
        (CHAT, "/v1/completions", {"prompt": ["One", "Two"], "max_tokens": 3}),
        (CHAT, "/v1/responses", {"input": "Hi", "max_output_tokens": 3}),
        (CHAT, "/v1/messages", {"messages": TALK, "max_tokens": 3}),
        (CHAT, "/v1/messages/count_tokens", {"messages": TALK}),
        (CHAT, "/tokenize", {"prompt": "Hi there"}),
        (CHAT, "/detokenize", {"tokens": [1, 2, 3]}),
        ("minilm", "/v1/embeddings", {"input": ["Hi", "there"]}),
        ("minilm", "/v1/embeddings", {"input": "Hi", "encoding_format": "base64"}),
        ("minilm", "/tokenize", {"prompt": "Hi there"}),
        ("prompt-guard", "/classify", {"input": ["Hi", "there"]}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_whole_answers(served: Served, tmp_path: Path, model: str, path: str, body: dict[str, Any]) -> None:
    real, simulated = await both(served, tmp_path / "s", model, path, {"model": model} | body)
    assert simulated.status == real.status == 200
    assert simulated.header("content-type") == real.header("content-type")
    assert differences(shape(real.json), shape(simulated.json)) == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": TALK, "max_tokens": 3, "stream": True}),
        ("/v1/chat/completions", {"messages": TALK, "max_tokens": 3} | STREAMED),
        ("/v1/completions", {"prompt": "One, two,", "max_tokens": 3} | STREAMED),
        ("/v1/messages", {"messages": TALK, "max_tokens": 3, "stream": True}),
        ("/v1/responses", {"input": "Hi", "max_output_tokens": 3, "stream": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_streams(served: Served, tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    real, simulated = await both(served, tmp_path / "s", CHAT, path, {"model": CHAT} | body)
    assert simulated.status == real.status == 200
    assert simulated.header("content-type") == real.header("content-type")
    assert simulated.header("transfer-encoding") == real.header("transfer-encoding")
    left, right = stream_shape(real.events), stream_shape(simulated.events)
    assert [line for pair in zip(left, right, strict=False) for line in differences(*pair)] == []
    assert len(left) == len(right)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": TALK, "max_tokens": 0}),
        ("/v1/chat/completions", {"messages": "no list"}),
        ("/v1/chat/completions", {"messages": TALK, "stream_options": {"include_usage": True}}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 5000}]}),
        ("/v1/completions", b"{"),
        ("/v1/messages", {"messages": "no list", "max_tokens": 3}),
        ("/no/such/path", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_errors(served: Served, tmp_path: Path, path: str, body: Any) -> None:
    asked = {"model": CHAT} | body if isinstance(body, dict) else body
    real, simulated = await both(served, tmp_path / "s", CHAT, path, asked)
    assert simulated.status == real.status >= 400
    assert differences(shape(real.json), shape(simulated.json)) == []
