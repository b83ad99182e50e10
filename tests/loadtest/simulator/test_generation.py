"""The order of a stream's events and where usage is, alike for chat and plain completions."""

import json
from typing import Any

import pytest

from loadtest.simulator import Profile, SimulatedEngine, Timing
from tests.kit.wire import Wire

Endpoint = tuple[str, dict[str, Any]]

CHAT: Endpoint = ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "stream": True})
COMPLETION: Endpoint = ("/v1/completions", {"prompt": "abcd", "stream": True})
USAGE = {"stream_options": {"include_usage": True}}
RUNNING_USAGE = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}


async def events(wire: Wire, endpoint: Endpoint, fields: dict[str, Any]) -> list[dict[str, Any]]:
    path, body = endpoint
    await wire.request("POST", path, body | fields)
    *data, done = (await wire.response()).events
    assert done == b"data: [DONE]"
    return [json.loads(event.removeprefix(b"data: ")) for event in data]


@pytest.mark.parametrize("endpoint", [CHAT, COMPLETION], ids=["chat", "completion"])
async def test_usage_comes_only_if_asked_for(wire: Wire, endpoint: Endpoint) -> None:
    assert not any("usage" in event for event in await events(wire, endpoint, {"max_tokens": 3}))


@pytest.mark.parametrize("endpoint", [CHAT, COMPLETION], ids=["chat", "completion"])
async def test_usage_comes_last_in_an_event_without_choices(wire: Wire, endpoint: Endpoint) -> None:
    *others, last = await events(wire, endpoint, USAGE | {"max_tokens": 3})
    assert not any("usage" in event or "system_fingerprint" in event for event in others)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 3
    assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + 3
    assert last["system_fingerprint"] == "vllm-0.32.0-simulate"


@pytest.mark.parametrize("endpoint", [CHAT, COMPLETION], ids=["chat", "completion"])
async def test_running_usage_is_on_every_event(wire: Wire, endpoint: Endpoint) -> None:
    found = [event["usage"]["completion_tokens"] for event in await events(wire, endpoint, RUNNING_USAGE)]
    assert found == sorted(found)
    assert found[-1] == 16


@pytest.mark.parametrize("endpoint", [CHAT, COMPLETION], ids=["chat", "completion"])
async def test_choices_take_turns(wire: Wire, endpoint: Endpoint) -> None:
    found = await events(wire, endpoint, {"n": 2, "max_tokens": 2})
    assert [event["choices"][0]["index"] for event in found] == [0, 1] * (len(found) // 2)


async def test_each_token_is_an_event_of_its_own() -> None:
    async with (
        SimulatedEngine(timing=Timing(inter_token=0.001)) as engine,
        await Wire.connect_to(engine.address) as wire,
    ):
        found = await events(wire, CHAT, {"max_tokens": 5})
    texts = [event["choices"][0]["delta"]["content"] for event in found]
    assert texts == ["", " t0", " t1", " t2", " t3", " t4"]


@pytest.mark.parametrize("endpoint", [CHAT, COMPLETION], ids=["chat", "completion"])
async def test_usage_says_what_the_prefix_cache_had(endpoint: Endpoint) -> None:
    path, body = endpoint
    asked = body | {"messages": [{"role": "user", "content": "x" * 100}], "prompt": "x" * 100}
    async with (
        SimulatedEngine(profile=Profile(block_size=4, num_blocks=50)) as engine,
        await Wire.connect_to(engine.address) as wire,
    ):
        for cached in (0, 24 if path == COMPLETION[0] else 32):
            await wire.request("POST", path, asked | USAGE)
            *_, last, _done = (await wire.response()).events
            usage = json.loads(last.removeprefix(b"data: "))["usage"]
            assert usage["prompt_tokens_details"] == {"cached_tokens": cached}
        await wire.request("POST", path, asked | {"stream": False})
        assert (await wire.response()).json["usage"]["prompt_tokens_details"] == {"cached_tokens": cached}


async def test_without_a_prefix_cache_nothing_is_said_of_it(wire: Wire) -> None:
    await wire.request("POST", "/v1/completions", {"prompt": "a"})
    assert (await wire.response()).json["usage"]["prompt_tokens_details"] is None
