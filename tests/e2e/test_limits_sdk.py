"""What users of the official SDKs see of the limits of their key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import anthropic
import openai
import pytest

from loadtest.simulator import SimulatedEngine, Timing
from tests.kit.gateways import gateway, remote

pytestmark = pytest.mark.slow


@asynccontextmanager
async def client(
    folder: Path, *, max_retries: int, ttft: float = 0.0, **limits: int
) -> AsyncIterator[openai.AsyncOpenAI]:
    """Run a gateway whose one key has these limits, and give a client that has the key."""
    key = {"id": "alice", "sha256": sha256(b"sk-alice").hexdigest(), "limits": limits}
    async with (
        SimulatedEngine("m", uds=folder / "engine", timing=Timing(ttft=ttft)) as engine,
        gateway({"m": remote(engine.address)}, keys=[key]) as running,
        openai.AsyncOpenAI(base_url=f"{running.address}/v1", api_key="sk-alice", max_retries=max_retries) as made,
    ):
        yield made


async def ask(made: openai.AsyncOpenAI) -> None:
    await made.completions.create(model="m", prompt="a", max_tokens=2)


async def test_a_limit_that_is_reached_is_a_rate_limit_error(tmp_path: Path) -> None:
    async with client(tmp_path, max_retries=0, requests_per_minute=1) as made:
        response = await made.completions.with_raw_response.create(model="m", prompt="a", max_tokens=2)
        assert response.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError, match="Rate limit reached for key 'alice'") as refused:
            await ask(made)
        assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "requests")
        assert 50 < float(refused.value.response.headers["retry-after-ms"]) / 1000 <= 60


async def test_the_sdk_comes_again_when_it_is_told_to(tmp_path: Path) -> None:
    # By itself the SDK tries again after half a second at most, when the other request is not over yet.
    async with client(tmp_path, max_retries=1, ttft=0.7, max_in_flight=1) as made:
        create = made.completions.with_raw_response.create
        first, second = await asyncio.gather(*(create(model="m", prompt="a", max_tokens=2) for _ in range(2)))
        assert sorted((first.retries_taken, second.retries_taken)) == [0, 1]


async def test_the_sdk_does_not_come_again_with_a_request_that_is_too_large(tmp_path: Path) -> None:
    async with client(tmp_path, max_retries=5, tokens_per_minute=1) as made:
        with pytest.raises(openai.RateLimitError, match="too large for key 'alice'") as refused:
            await ask(made)
        assert refused.value.response.request.headers["x-stainless-retry-count"] == "0"


async def test_anthropics_sdk_is_told_in_anthropics_headers_and_errors(tmp_path: Path) -> None:
    async with client(tmp_path, max_retries=0, requests_per_minute=1, tokens_per_minute=1000) as made:
        address = str(made.base_url).removesuffix("/v1/")
        async with anthropic.AsyncAnthropic(base_url=address, api_key="sk-alice", max_retries=0) as anthropics:
            ask_raw = anthropics.messages.with_raw_response.create
            response = await ask_raw(model="m", max_tokens=2, messages=[{"role": "user", "content": "a"}])
            told = response.headers
            assert told["anthropic-ratelimit-requests-remaining"] == "0"
            assert told["anthropic-ratelimit-tokens-limit"] == "1000"
            assert datetime.fromisoformat(told["anthropic-ratelimit-requests-reset"]) > datetime.now(UTC)
            with pytest.raises(anthropic.RateLimitError, match="Rate limit reached for key 'alice'") as refused:
                await ask_raw(model="m", max_tokens=2, messages=[{"role": "user", "content": "a"}])
            assert refused.value.response.headers["anthropic-ratelimit-requests-limit"] == "1"
