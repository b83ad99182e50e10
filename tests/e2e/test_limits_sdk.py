"""What users of the official SDKs see of the limits of their key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

import anthropic
import openai
import pytest

from loadtest.simulator import SimulatedEngine
from tests.kit.gateways import gateway, remote
from tests.kit.scripted import scripted_engine, whole

pytestmark = pytest.mark.slow


@asynccontextmanager
async def client(folder: Path, *, max_retries: int, **limits: int) -> AsyncIterator[openai.AsyncOpenAI]:
    """Run a gateway whose one key has these limits, and give a client that has the key."""
    key = {"id": "alice", "sha256": sha256(b"sk-alice").hexdigest(), "limits": limits}
    async with (
        SimulatedEngine("m", uds=folder / "engine") as engine,
        gateway({"m": remote(engine.address)}, keys=[key]) as running,
        openai.AsyncOpenAI(base_url=f"{running.address}/v1", api_key="sk-alice", max_retries=max_retries) as made,
    ):
        yield made


async def ask(made: openai.AsyncOpenAI) -> None:
    await made.completions.create(model="m", prompt="a", max_tokens=2)


async def test_a_limit_that_is_reached_is_a_rate_limit_error(tmp_path: Path) -> None:
    async with client(tmp_path, max_retries=0, requests_per_minute=1) as made:
        began = monotonic()
        response = await made.completions.with_raw_response.create(model="m", prompt="a", max_tokens=2)
        assert response.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError, match="Rate limit reached for key 'alice'") as refused:
            await ask(made)
        assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "requests")
        # The minute has begun with the first request.
        told = float(refused.value.response.headers["retry-after-ms"]) / 1000
        assert 60 - (monotonic() - began) - 1 < told <= 60


async def test_the_sdk_comes_again_when_it_is_told_to() -> None:
    """The request that is served ends when the other one was refused, which comes again then, and not before."""
    answer = whole(b'{"id": "a", "object": "text_completion", "created": 0, "model": "m", "choices": []}')
    told: list[tuple[float, float]] = []
    came: list[float] = []

    async def asking(_request: Any) -> None:
        came.append(monotonic())

    async def answered(response: Any) -> None:
        if response.status_code == 429:
            told.append((monotonic(), float(response.headers["retry-after-ms"]) / 1000))
            engine.answer = [answer]
            engine.go_on()

    key = {"id": "alice", "sha256": sha256(b"sk-alice").hexdigest(), "limits": {"max_in_flight": 1}}
    async with (
        scripted_engine() as engine,
        gateway({"m": remote(engine.url)}, keys=[key]) as running,
        openai.DefaultAsyncHttpxClient(event_hooks={"request": [asking], "response": [answered]}) as http,
        openai.AsyncOpenAI(
            base_url=f"{running.address}/v1", api_key="sk-alice", max_retries=1, http_client=http
        ) as made,
    ):
        engine.answer = [b"", answer]
        create = made.completions.with_raw_response.create
        responses = await asyncio.gather(*(create(model="m", prompt="a", max_tokens=2) for _ in range(2)))
    assert sorted(response.retries_taken for response in responses) == [0, 1]
    ((refused, seconds),) = told
    # By itself the SDK comes again after half a second at most.
    assert came[-1] - refused >= seconds > 0.5


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
