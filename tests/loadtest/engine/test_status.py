"""What the engine says about itself."""

from loadtest.engine import SimulatedEngine, Timing
from tests.kit.wire import Wire


async def test_models(wire: Wire) -> None:
    await wire.request("GET", "/v1/models")
    answer = (await wire.answer()).json
    assert answer["object"] == "list"
    assert [(each["id"], each["owned_by"], each["max_model_len"]) for each in answer["data"]] == [
        ("sim", "vllm", 2**20)
    ]


async def test_version(wire: Wire) -> None:
    await wire.request("GET", "/version")
    assert (await wire.answer()).json == {"version": "0.32.0"}


async def test_health(wire: Wire) -> None:
    await wire.request("GET", "/health")
    assert (await wire.answer()).body == b""


async def test_metrics_follow_the_batch() -> None:
    timing = Timing(ttft=3600, max_num_seqs=1, kv_cache_tokens=100)
    async with SimulatedEngine("m", timing=timing) as engine, await Wire.connect_to(engine.address) as wire:
        busy = [await Wire.connect_to(engine.address) for _ in range(3)]
        for each in busy:
            await each.request("POST", "/v1/embeddings", {"input": "x" * 100})
        await engine.until(lambda e: (e.running, e.waiting) == (1, 2))
        await wire.request("GET", "/metrics")
        answer = await wire.answer()
        assert answer.header("content-type") == "text/plain; version=1.0.0; charset=utf-8"
        lines = answer.body.decode().splitlines()
        assert 'vllm:num_requests_running{engine="0",model_name="m"} 1.0' in lines
        assert 'vllm:num_requests_waiting{engine="0",model_name="m"} 2.0' in lines
        assert 'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25' in lines
        assert "# TYPE vllm:num_requests_running gauge" in lines
        for each in busy:
            await each.close()
